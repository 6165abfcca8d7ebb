"""Gaussian activations with the mean and the covariance of real ones: what a coder gives for second moments alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from sparse_coders import SparseCoder
from torch import Tensor

_JITTER = 1e-10
"""Of the mean variance of a dimension, added to each: a covariance of fewer tokens than dimensions has no root else."""


@dataclass(frozen=True)
class Moments:
    """Sums over tokens of z and z z^T, float64; z is an activation less a centre, of a transcoder both of a token."""

    count: Float[Tensor, ""]
    total: Float[Tensor, " width"]
    outer: Float[Tensor, "width width"]


class Accumulator:
    """Adds up moments batch by batch, on the device of the first batch."""

    def __init__(self, width: int) -> None:
        self._moments = Moments(torch.zeros((), dtype=torch.float64), *_zeros(width))

    def add(self, z: Float[Tensor, "n width"]) -> None:
        """Adds a batch of centred activations; see `stacked`."""
        exact, held = z.double(), self._moments
        outer = held.outer.to(exact.device).addmm_(exact.T, exact)
        self._moments = Moments(held.count + len(exact), held.total.to(exact.device) + exact.sum(0), outer)

    def moments(self) -> Moments:
        """Returns the sums so far, on the CPU."""
        return Moments(self._moments.count, self._moments.total.cpu(), self._moments.outer.cpu())


def stacked(
    coder: SparseCoder, x: Float[Tensor, "n d_model"], target: Float[Tensor, "n d_out"]
) -> Float[Tensor, "n width"]:
    """Returns what moments are taken of: x less b_dec, near which it lies; of a transcoder x and the target less it."""
    b_dec = coder.b_dec.double().to(x.device)
    return torch.cat([x.double(), target.double() - b_dec], 1) if coder.transcoder else x.double() - b_dec


def unstacked(coder: SparseCoder, z: Float[Tensor, "n width"]) -> tuple[Tensor, Tensor]:
    """Returns x and target of stacked rows, each float64."""
    b_dec = coder.b_dec.double().to(z.device)
    if not coder.transcoder:
        return z + b_dec, z + b_dec
    return z[:, : coder.d_model], z[:, coder.d_model :] + b_dec


def merged(parts: Sequence[Moments]) -> Moments:
    """Returns the sums over all parts."""
    total = parts[0]
    for part in parts[1:]:
        total = Moments(total.count + part.count, total.total + part.total, total.outer + part.outer)
    return total


def gaussian_batches(moments: Moments, count: int, size: int, seed: int) -> Iterator[Float[Tensor, "size width"]]:
    """Yields batches of `count` rows drawn from the Gaussian of these moments, still less the centre.

    The same rows for the same seed, count and size on one kind of machine.
    """
    mean = moments.total / moments.count
    covariance = moments.outer / moments.count - mean.outer(mean)
    covariance.diagonal().add_(_JITTER * covariance.diagonal().mean().clamp(min=torch.finfo(torch.float64).tiny))
    root = torch.linalg.cholesky(covariance)
    generator = torch.Generator().manual_seed(seed % 2**63)
    for start in range(0, count, size):
        normal = torch.randn(min(size, count - start), len(mean), generator=generator, dtype=torch.float64)
        yield mean + normal @ root.T


def _zeros(width: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(width, dtype=torch.float64), torch.zeros(width, width, dtype=torch.float64)
