"""The kinds of job of this service."""

from collections.abc import Sequence

from dragoman.kinds import AnyKind

from sae_trainer.coder_kind import CoderKind
from sae_trainer.config import Config
from sae_trainer.evaluation_kind import EvaluationKind
from sae_trainer.overlap import ArtifactOf


def build(config: Config, artifact_of: ArtifactOf) -> Sequence[AnyKind]:
    """Returns the kinds, ready to plan and run; `artifact_of` opens artifacts of the inputs' lineage by id."""
    return [CoderKind(config), EvaluationKind(config, artifact_of)]
