"""Objectives of coders whose latents fire each for itself: any may, so that all pre-activations are differentiated.

A batch goes through in tiles of tokens, every loss being a sum over tokens, so that n x d_sae never exists as a whole.
"""

from abc import abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sparse_coders.objectives.objective import Backward, Losses, Objective, Pass, total_variance
from sparse_coders.objectives.tiles import decoded_tile, encoded_tile, row_norms
from sparse_coders.sparse_coder import tile_height

_LEAST_HEIGHT = 256
"""A lower tile reads and writes gradients of the size of the weights too often."""


class Terms(NamedTuple):
    """A tile's latents and losses."""

    acts: Float[Tensor, "rows d_sae"]
    residual: Float[Tensor, "rows d_out"]
    penalty: Float[Tensor, ""]
    """Sparsity penalty, summed over the tile's tokens."""
    extra: Float[Tensor, ""]
    """Further squared errors, summed over the tile's tokens."""


class DenseObjective(Objective):
    """FVU + coefficient * mean penalty of a token + extra squared error as a fraction of the variance."""

    @abstractmethod
    def terms(self, x: Float[Tensor, "rows d_model"], y: Float[Tensor, "rows d_out"], batch: Pass) -> Terms:
        """Returns what a tile gives."""

    def auxiliary(
        self,
        x: Float[Tensor, "n d_model"],
        residual: Float[Tensor, "n d_out"],
        dead: Int64[Tensor, " n_dead"],
        batch: Pass,
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
        tokens, everyone, n = self.split.tokens, self.split.everyone, len(x)
        batch = self.begun(n, total_variance(y), bandwidth)
        x, y = x[tokens.rows(n)], y[tokens.rows(n)]
        error, penalty, active_count = (torch.zeros_like(batch.variance) for _ in range(3))
        fired = torch.zeros(self.coder.d_sae, dtype=torch.int64, device=x.device)
        residual = torch.empty_like(y)
        height = max(tile_height(self.coder.d_sae, x.device), _LEAST_HEIGHT)
        for start in range(0, len(x), height):
            rows = slice(start, start + height)
            with torch.enable_grad():
                terms = self.terms(x[rows], y[rows], batch)
                own_error = (terms.residual.square().sum() + terms.extra) / batch.variance
                own_penalty = coefficient / n * terms.penalty
                self.differentiate(own_error + own_penalty, batch)
            residual[rows] = terms.residual.detach()
            active = terms.acts.detach() > 0
            error, penalty = error + own_error.detach(), penalty + own_penalty.detach()
            active_count, fired = active_count + active.sum(), fired + active.any(0)
        with torch.enable_grad():
            auxiliary = self.auxiliary(x, residual, dead, batch)
            if auxiliary is not None:
                self.differentiate(auxiliary, batch)
                error = error + auxiliary.detach()
        error, fvu = tokens.sum_(torch.stack([error, residual.square().sum() / batch.variance]))
        penalty, active_count = everyone.sum_(torch.stack([penalty, active_count]))
        losses = Losses(error + penalty, fvu, active_count / n)
        return Backward(batch.sums, losses, tokens.sum_(fired) > 0, residual)

    def encoded(self, x: Float[Tensor, "rows d_model"], batch: Pass) -> Float[Tensor, "rows d_sae"]:
        """Returns x' W_enc^T."""
        d_W_enc = batch.sums.get("W_enc")
        centred = self.centred(x).detach()
        return encoded_tile(centred, self.coder.W_enc, self.b_dec_read, d_W_enc, self.options.autocast)

    def decoded_densely(
        self, acts: Float[Tensor, "rows d_sae"], d_W_dec: Float[Tensor, "d_sae d_out"] | None
    ) -> Float[Tensor, "rows d_out"]:
        """Returns acts W_dec, with the latents of all processes; the gradient of W_dec is added to `d_W_dec`."""
        return self.split.latents.summed(decoded_tile(acts, self.coder.W_dec, d_W_dec, self.options.autocast))

    def left_over(
        self,
        x: Float[Tensor, "rows d_model"],
        y: Float[Tensor, "rows d_out"],
        acts: Float[Tensor, "rows d_sae"],
        batch: Pass,
    ) -> Float[Tensor, "rows d_out"]:
        """Returns y minus what the latents give back."""
        return y - self.base(x) - self.decoded_densely(acts, batch.sums.get("W_dec"))

    def l1(self, acts: Float[Tensor, "rows d_sae"], batch: Pass) -> Float[Tensor, ""]:
        """Returns the sum of act_j |W_dec_j| over tokens, in units of y's root mean squared distance from its mean."""
        norms = row_norms(self.coder.W_dec, batch.sums.get("W_dec"))
        return (acts.sum(0) * norms).sum() / (batch.variance / batch.n).sqrt()
