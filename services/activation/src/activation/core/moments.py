"""Means that merge: of vectors, and of their norms."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Count, mean vector and mean L2 norm of some activations, in float64 (Chan et al. 1979, pairwise merge)."""

    count: int
    mean: Float64[np.ndarray, " d_model"]
    mean_norm: float

    @classmethod
    def of(cls, activations: Float[Tensor, "n d_model"]) -> "Moments":
        """Returns the moments of at least one activation."""
        norms = torch.linalg.vector_norm(activations, dim=-1, dtype=torch.float64)
        mean = activations.sum(0, dtype=torch.float64) / len(activations)
        return cls(len(activations), mean.cpu().numpy(), float(norms.mean()))

    def merge(self, other: "Moments") -> "Moments":
        """Returns the moments of both sets together."""
        share = other.count / (self.count + other.count)
        return Moments(
            self.count + other.count,
            self.mean + (other.mean - self.mean) * share,
            self.mean_norm + (other.mean_norm - self.mean_norm) * share,
        )


def merge_all(moments: Iterable[Moments]) -> Moments | None:
    """Merges in the order given; None when there is nothing to merge."""
    total: Moments | None = None
    for one in moments:
        total = one if total is None else total.merge(one)
    return total
