"""A coder measured on a set of activations: sums in float64 that add up over batches and tasks, and what they say."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.random import Generator
from sparse_coders import SparseCoder
from torch import Tensor

_DENSE = 0.1
"""A latent that fires for more than this share of the tokens is dense."""
_RESAMPLES = 1000
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Sums:
    """Totals over the tokens of each block; a block is one token row or several neighbouring ones.

    The target y is what the coder reads, or what a transcoder predicts. Distances are from c = b_dec, near which the
    targets lie, so that the variance loses no digits to a large mean.
    """

    blocks: Int64[Tensor, " blocks"]
    """Number of each block, rising."""
    tokens: Float[Tensor, " blocks"]
    error: Float[Tensor, " blocks"]
    """Squared error |y - reconstruction|^2."""
    square: Float[Tensor, " blocks"]
    """|y - c|^2."""
    total: Float[Tensor, "blocks d_out"]
    """y - c."""
    cosine: Float[Tensor, " blocks"]
    """Cosine of y and its reconstruction."""
    fired: Float[Tensor, " blocks"]
    """Latents that fired, over all tokens."""
    firing_count: Int64[Tensor, " d_sae"]
    """Tokens of all blocks for which each latent fired."""


@torch.no_grad()
def batch_sums(
    coder: SparseCoder,
    x: Float[Tensor, "n d_model"],
    target: Float[Tensor, "n d_out"],
    blocks: Int64[Tensor, " n"],
) -> Sums:
    """Returns the sums of a batch; everything after the coder itself is float64, on the CPU.

    Args:
        coder: What is measured.
        x: What it reads.
        target: What it should give: x, or for a transcoder the activations of its output hookpoint.
        blocks: Block of each token.
    """
    acts, indices = coder.encode(x)
    reconstruction = coder.decode(acts, indices, x).double().cpu()
    exact = target.double().cpu()
    centred = exact - coder.b_dec.double().cpu()
    numbers, place = blocks.unique(return_inverse=True)
    fired = acts > 0

    def by_block(values: Tensor) -> Tensor:
        return torch.zeros(len(numbers), *values.shape[1:], dtype=torch.float64).index_add_(0, place, values.double())

    return Sums(
        blocks=numbers,
        tokens=by_block(torch.ones(len(x))),
        error=by_block((exact - reconstruction).square().sum(1)),
        square=by_block(centred.square().sum(1)),
        total=by_block(centred),
        cosine=by_block(torch.cosine_similarity(exact, reconstruction)),
        fired=by_block(fired.sum(1).cpu()),
        firing_count=torch.bincount(indices[fired], minlength=coder.d_sae).cpu(),
    )


def added(parts: Sequence[Sums]) -> Sums:
    """Returns the sums over all parts, block by block."""
    blocks, place = torch.cat([part.blocks for part in parts]).unique(return_inverse=True)

    def by_block(name: str) -> Tensor:
        values = torch.cat([getattr(part, name) for part in parts])
        return torch.zeros(len(blocks), *values.shape[1:], dtype=torch.float64).index_add_(0, place, values)

    summed = {f.name: by_block(f.name) for f in fields(Sums) if f.name not in {"blocks", "firing_count"}}
    firing_count = torch.stack([part.firing_count for part in parts]).sum(0)
    return Sums(blocks=blocks, firing_count=firing_count, **summed)


@dataclass(frozen=True, slots=True)
class Measures:
    """What an evaluation says of a coder."""

    fvu: float
    """Squared error over squared distance from the mean, both over the whole set (1 - explained variance)."""
    fvu_interval: tuple[float, float] | None
    """95%, percentile bootstrap over blocks of rows; None with fewer than two blocks."""
    mse: float
    """Squared error, summed over d_model, mean over tokens (SAELens' convention)."""
    cosine: float
    l0: float
    dead_fraction: float
    """Share of the latents that fired for no token of the set."""
    dense_fraction: float
    """Share of the latents that fired for more than a tenth of the tokens."""
    token_count: int


def measures(sums: Sums, generator: Generator) -> Measures:
    """Returns the measures of a set. Raises ZeroDivisionError when all its activations are equal."""
    ones = np.ones((1, len(sums.blocks)))
    tokens = float(sums.tokens.sum())
    density = sums.firing_count / tokens
    return Measures(
        fvu=float(_fvu(sums, ones)[0]),
        fvu_interval=_interval(sums, generator),
        mse=float(sums.error.sum()) / tokens,
        cosine=float(sums.cosine.sum()) / tokens,
        l0=float(sums.fired.sum()) / tokens,
        dead_fraction=float((sums.firing_count == 0).double().mean()),
        dense_fraction=float((density > _DENSE).double().mean()),
        token_count=round(tokens),
    )


def _interval(sums: Sums, generator: Generator) -> tuple[float, float] | None:
    count = len(sums.blocks)
    if count < 2:
        return None
    weights = generator.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES).astype(np.float64)
    low, high = np.quantile(_fvu(sums, weights), [0.025, 0.975])
    return float(low), float(high)


def _fvu(sums: Sums, weights: Float[np.ndarray, "samples blocks"]) -> Float[np.ndarray, " samples"]:
    """Returns the FVU of each weighting of the blocks."""
    total = weights @ sums.total.numpy()
    square = weights @ sums.square.numpy()
    variance = square - np.square(total).sum(1) / (weights @ sums.tokens.numpy())
    if not (variance > _ROUNDING * square).all():
        raise ZeroDivisionError("the activations have no variance")
    return (weights @ sums.error.numpy()) / variance
