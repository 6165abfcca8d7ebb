"""Objectives of coders whose latents fire each for itself: any may, so that all pre-activations are differentiated.

A batch goes through in tiles of tokens, every loss being a sum over tokens, so that n x d_sae never exists as a whole.
"""

from abc import abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sparse_coders.objectives.objective import Backward, Losses, Objective, total_variance
from sparse_coders.objectives.selection import product
from sparse_coders.sparse_coder import tile_height

_LEAST_HEIGHT = 512
"""A lower tile adds gradients of the size of the weights too often."""


class Terms(NamedTuple):
    """A tile's latents and losses."""

    acts: Float[Tensor, "rows d_sae"]
    residual: Float[Tensor, "rows d_out"]
    penalty: Float[Tensor, ""]
    """Sparsity penalty, summed over the tile's tokens."""
    extra: Float[Tensor, ""]
    """Further squared errors, summed over the tile's tokens."""


class Scales(NamedTuple):
    """Units of what has no unit of its own."""

    deviation: Float[Tensor, ""]
    """Root mean square of y's distance from its mean over the batch: of L1 penalties."""
    bandwidth: float
    """Of JumpReLU's kernel."""


class DenseObjective(Objective):
    """FVU + coefficient * mean penalty of a token + extra squared error as a fraction of the variance."""

    @abstractmethod
    def terms(self, x: Float[Tensor, "rows d_model"], y: Float[Tensor, "rows d_out"], scales: Scales) -> Terms:
        """Returns what a tile gives."""

    def auxiliary(
        self,
        x: Float[Tensor, "n d_model"],
        residual: Float[Tensor, "n d_out"],
        dead: Int64[Tensor, " n_dead"],
        variance: Float[Tensor, ""],
    ) -> Float[Tensor, ""] | None:
        """Returns the weighted loss that revives dead latents; None where there is none."""
        return None

    def backward(
        self,
        x: Float[Tensor, "n d_model"],
        y: Float[Tensor, "n d_out"],
        dead: Int64[Tensor, " n_dead"],
        coefficient: float,
        bandwidth: float,
    ) -> Backward:
        """Returns the gradient for a batch."""
        n, variance = len(x), total_variance(y)
        scales = Scales((variance / n).sqrt(), bandwidth)
        sums = {name: torch.zeros_like(value) for name, value in self.trained.items()}
        loss, active_count = torch.zeros_like(variance), torch.zeros((), dtype=torch.int64, device=x.device)
        fired = torch.zeros(self.coder.d_sae, dtype=torch.bool, device=x.device)
        residual = torch.empty_like(y)
        height = max(tile_height(self.coder.d_sae, x.device), _LEAST_HEIGHT)
        for start in range(0, n, height):
            rows = slice(start, start + height)
            with torch.enable_grad():
                terms = self.terms(x[rows], y[rows], scales)
                part = (terms.residual.square().sum() + terms.extra) / variance + coefficient / n * terms.penalty
                _add(sums, self.gradients(part))
            residual[rows] = terms.residual.detach()
            active = terms.acts.detach() > 0
            loss, active_count, fired = loss + part.detach(), active_count + active.sum(), fired | active.any(0)
        l0 = active_count.to(y.dtype) / n
        with torch.enable_grad():
            auxiliary = self.auxiliary(x, residual, dead, variance) if len(dead) else None
            if auxiliary is not None:
                _add(sums, self.gradients(auxiliary))
                loss = loss + auxiliary.detach()
        return Backward(sums, Losses(loss, residual.square().sum() / variance, l0), fired, residual)

    def pre_activations(
        self, x: Float[Tensor, "rows d_model"], bias: Float[Tensor, " d_sae"] | None
    ) -> Float[Tensor, "rows d_sae"]:
        """Returns x' W_enc^T + bias."""
        return product(self.centred(x), self.coder.W_enc, bias, self.options.autocast)

    def left_over(
        self, x: Float[Tensor, "rows d_model"], y: Float[Tensor, "rows d_out"], acts: Float[Tensor, "rows d_sae"]
    ) -> Float[Tensor, "rows d_out"]:
        """Returns y minus what the latents give back."""
        return y - self.base(x) - product(acts, self.coder.W_dec.T, None, self.options.autocast)


def _add(sums: dict[str, Tensor], part: dict[str, Tensor]) -> None:
    for name, value in part.items():
        sums[name] += value
