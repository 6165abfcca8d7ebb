"""A coder's run, worked out before it begins: how long, how wide, and what it needs. Imports no torch."""

from collections.abc import Sequence
from typing import NamedTuple

from sae_trainer.core.footprint import Footprint, footprint, together
from sae_trainer.core.run_length import Run, run_of
from sae_trainer.source import Source
from sae_trainer.spec import CoderSpec


class PlannedRun(NamedTuple):
    """A spec on its activations."""

    spec: CoderSpec
    run: Run
    reads: Source
    gives: Source
    """`reads` for an autoencoder."""

    @property
    def width(self) -> int:
        """Values that are read of a token."""
        return self.reads.d_model + (self.gives.d_model if self.spec.transcoder else 0)


def planned(spec: CoderSpec, reads: Source, gives: Source) -> PlannedRun:
    """Works a spec out. Raises ImpossibleRun."""
    return PlannedRun(spec, run_of(spec, reads.d_model, reads.token_count), reads, gives)


def held_by(runs: Sequence[PlannedRun], buffer_bytes: int, model_bytes: int = 0) -> Footprint:
    """Returns what coders that are trained together hold, and the buffer and the model that they share."""
    each = [footprint(p.spec, p.run, p.width, p.gives.d_model, buffer_bytes) for p in runs]
    return together(each, model_bytes)
