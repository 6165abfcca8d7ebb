"""The kinds of job of this service."""

from collections.abc import Sequence

from dragoman.kinds import AnyKind
from dragoman.store import Store

from sae_trainer.coder_kind import CoderKind
from sae_trainer.coders_kind import CodersKind
from sae_trainer.config import Config
from sae_trainer.evaluation_kind import EvaluationKind
from sae_trainer.export_kind import ExportKind
from sae_trainer.model_host import host_of
from sae_trainer.overlap_kind import OverlapKind


def build(config: Config, store: Store) -> Sequence[AnyKind]:
    """Returns the kinds, ready to plan and run; inputs, what they came from and s3:// uris are read in `store`."""
    host = host_of(config, store)
    return [
        CoderKind(config, store, host),
        CodersKind(config, host),
        EvaluationKind(config, store.artifact),
        OverlapKind(config),
        ExportKind(),
    ]
