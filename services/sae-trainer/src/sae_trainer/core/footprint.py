"""What a run holds in memory at its peak, worked out before it begins."""

from collections.abc import Sequence
from typing import NamedTuple

from sae_trainer.core.architectures import BASELINES
from sae_trainer.core.run_length import Run
from sae_trainer.spec import CoderSpec

_FLOAT_BYTES = 4
_BATCHES = 3
_MOMENTS = {"adam": 2, "signum": 2, "muon": 3, "schedule_free": 3}
"""Tensors as large as the weights that an optimiser keeps, or makes in a step."""
_DEAD_COPIES = 1
"""Rows of dead latents, at worst of all: in plain training beside the gradient; in compiled kernels, which have no
gradient, these and what the auxiliary loss adds to them."""
_LATENT_BYTES = 12 * 256 * _FLOAT_BYTES
"""What it takes for each latent: a dozen tensors of a tile of 256 tokens; measured."""
_WORKING_BYTES = 2**28
"""Compiled code, tiles of pre-activations, and what the allocator keeps; measured."""


class Footprint(NamedTuple):
    """Bytes, by what they are for."""

    weights: int
    """Weights, gradients, the optimiser's tensors and the moving average, of all ranks."""
    batches: int
    """Three batches of activations."""
    shuffle: int
    """The shuffle buffer, as far as the data fill it."""
    working: int = _WORKING_BYTES
    """Compiled code and tiles, whatever the sizes are."""
    model: int = 0
    """Weights of the model that activations are streamed from."""

    @property
    def total(self) -> int:
        """Bytes of everything."""
        return sum(self)


def footprint(spec: CoderSpec, run: Run, width: int, d_out: int, shuffle_bytes: int) -> Footprint:
    """Returns what a run holds: `width` is d_model, and of a transcoder d_model + d_out, what is read of a token."""
    d_model = width - d_out if spec.transcoder else width
    count = run.d_sae * (d_model + d_out) + d_out + 3 * run.d_sae + (d_model * d_out if spec.skip else 0)
    copies = 2 + _MOMENTS[spec.optimiser] + _DEAD_COPIES + (spec.ema_decay is not None)
    working = _WORKING_BYTES
    if spec.architecture not in ("topk", *BASELINES) or spec.transcoder:
        working += run.d_sae * _LATENT_BYTES
    batches = _BATCHES * run.batch_tokens * width * _FLOAT_BYTES
    weights = count * copies * _FLOAT_BYTES
    if spec.ranks == 1:
        return Footprint(weights, batches, shuffle_bytes, working)
    # Each process needs what it works with; the task's own hands over states, which it then holds as a whole.
    working = (spec.ranks + 1) * working + weights
    return Footprint(weights * (spec.ranks if spec.parallel == "data" else 1), batches, shuffle_bytes, working)


def together(each: Sequence[Footprint], model: int) -> Footprint:
    """Returns what runs hold that are trained at once: weights and batches are their own, the rest they share."""
    weights, batches = sum(held.weights for held in each), sum(held.batches for held in each)
    return Footprint(weights, batches, each[0].shuffle, max(held.working for held in each), model)
