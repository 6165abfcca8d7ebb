"""What a run holds in memory at its peak, worked out before it begins."""

from typing import NamedTuple

from sae_trainer.core.architectures import BASELINES
from sae_trainer.core.run_length import Run
from sae_trainer.spec import CoderSpec

_FLOAT_BYTES = 4
_BATCHES = 3
_MOMENTS = {"adam": 2, "signum": 1, "muon": 2, "schedule_free": 2}
"""Tensors as large as the weights that an optimiser keeps."""
_DENSE_COPIES = 3
"""What the plain trainer of all architectures but TopK takes besides, as large as the weights; measured."""
_WORKING_BYTES = 2**28
"""Compiled code, tiles of pre-activations, and what the allocator keeps; measured."""


class Footprint(NamedTuple):
    """Bytes, by what they are for."""

    weights: int
    """Weights, gradients, the optimiser's tensors and the moving average."""
    batches: int
    """Three batches of activations."""
    shuffle: int
    """The shuffle buffer, as far as the data fill it."""
    working: int = _WORKING_BYTES
    """Compiled code and tiles, whatever the sizes are."""

    @property
    def total(self) -> int:
        """Bytes of everything."""
        return self.weights + self.batches + self.shuffle + self.working


def footprint(spec: CoderSpec, run: Run, width: int, d_out: int, shuffle_bytes: int) -> Footprint:
    """Returns what a run holds: `width` is d_model, and of a transcoder d_model + d_out, what is read of a token."""
    d_model = width - d_out if spec.transcoder else width
    count = run.d_sae * (d_model + d_out) + d_out + 3 * run.d_sae + (d_model * d_out if spec.skip else 0)
    copies = 2 + _MOMENTS[spec.optimiser] + (spec.ema_decay is not None)
    if spec.architecture not in ("topk", *BASELINES) or spec.transcoder:
        copies += _DENSE_COPIES
    batches = _BATCHES * run.batch_tokens * width * _FLOAT_BYTES
    return Footprint(count * copies * _FLOAT_BYTES, batches, shuffle_bytes)
