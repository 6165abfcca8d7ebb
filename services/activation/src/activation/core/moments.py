"""Moments that merge: mean and variance of each dimension, and of the norms."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Count, means and sums of squared deviations, in float64, of some activations and of their L2 norms.

    Merged pairwise as in Chan, Golub & LeVeque 1979, so that nothing cancels however far a mean is from zero.
    """

    count: int
    mean: Float64[np.ndarray, " d_model"]
    squares: Float64[np.ndarray, " d_model"]
    """Sum of squared deviations from `mean`."""
    norm_mean: float
    norm_squares: float
    """Sum of squared deviations from `norm_mean`."""
    norm_min: float
    norm_max: float

    @classmethod
    def of(cls, activations: Float[Tensor, "n d_model"]) -> "Moments":
        """Returns the moments of at least one activation."""
        values = activations.double()
        variance, mean = torch.var_mean(values, 0, correction=0)
        norms = torch.linalg.vector_norm(values, dim=-1)
        norm_variance, norm_mean = torch.var_mean(norms, correction=0)
        count = len(values)
        return cls(
            count,
            mean.cpu().numpy(),
            (variance * count).cpu().numpy(),
            float(norm_mean),
            float(norm_variance * count),
            float(norms.min()),
            float(norms.max()),
        )

    @property
    def variance(self) -> Float64[np.ndarray, " d_model"]:
        """Variance of each dimension over these activations (divided by their count)."""
        return self.squares / self.count

    @property
    def norm_std(self) -> float:
        """Standard deviation of the norms (divided by their count)."""
        return float(np.sqrt(self.norm_squares / self.count))

    def merge(self, other: "Moments") -> "Moments":
        """Returns the moments of both sets together."""
        count = self.count + other.count
        share = other.count / count
        apart, norms_apart = other.mean - self.mean, other.norm_mean - self.norm_mean
        return Moments(
            count,
            self.mean + apart * share,
            self.squares + other.squares + apart**2 * (self.count * share),
            self.norm_mean + norms_apart * share,
            self.norm_squares + other.norm_squares + norms_apart**2 * (self.count * share),
            min(self.norm_min, other.norm_min),
            max(self.norm_max, other.norm_max),
        )


def merge_all(moments: Iterable[Moments]) -> Moments | None:
    """Merges in the order given; None when there is nothing to merge."""
    total: Moments | None = None
    for one in moments:
        total = one if total is None else total.merge(one)
    return total
