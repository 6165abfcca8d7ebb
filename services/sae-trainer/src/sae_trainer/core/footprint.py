"""What a run holds in memory at its peak, worked out before it begins."""

from typing import NamedTuple

from sae_trainer.core.run_length import Run
from sae_trainer.spec import CoderSpec

_FLOAT_BYTES = 4
_BATCHES = 3
_MOMENTS = {"adam": 2, "signum": 1, "muon": 2, "schedule_free": 2}
"""Tensors as large as the weights that an optimiser keeps."""


class Footprint(NamedTuple):
    """Bytes, by what they are for."""

    weights: int
    """Weights, gradients, the optimiser's tensors and the moving average."""
    batches: int
    """Three batches of activations."""
    shuffle: int
    """The shuffle buffer, as far as the data fill it."""

    @property
    def total(self) -> int:
        """Bytes of everything."""
        return self.weights + self.batches + self.shuffle


def footprint(spec: CoderSpec, run: Run, width: int, d_out: int, shuffle_bytes: int) -> Footprint:
    """Returns what a run holds: `width` is d_model, and of a transcoder d_model + d_out, what is read of a token."""
    d_model = width - d_out if spec.transcoder else width
    count = run.d_sae * (d_model + d_out) + d_out + 3 * run.d_sae + (d_model * d_out if spec.skip else 0)
    copies = 2 + _MOMENTS[spec.optimiser] + (spec.ema_decay is not None)
    if spec.architecture == "random":
        copies = 1
    batches = _BATCHES * run.batch_tokens * width * _FLOAT_BYTES
    return Footprint(count * copies * _FLOAT_BYTES, batches, shuffle_bytes)
