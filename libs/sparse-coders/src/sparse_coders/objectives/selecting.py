"""Objectives of coders that keep a given number of latents: TopK, BatchTopK and Matryoshka.

The encoder's forward pass is the only dense product; see `sparse_coders.objectives.pairs` for the derivatives.
"""

from abc import abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sparse_coders.objectives.auxk import auxk_loss
from sparse_coders.objectives.objective import Backward, Losses, Objective, Pass, total_variance
from sparse_coders.objectives.pairs import Pairs
from sparse_coders.objectives.selection import Encoder


class Reconstruction(NamedTuple):
    """A batch as the selected latents give it back."""

    loss: Float[Tensor, ""]
    fvu: Float[Tensor, ""]
    residual: Float[Tensor, "n d_out"]


class SelectingObjective(Objective):
    """FVU of the selected latents, and AuxK for the dead."""

    @abstractmethod
    def pairs(self, encoder: Encoder, centred: Float[Tensor, "n d_model"]) -> Pairs:
        """Returns what fires for a batch."""

    def reconstruction(
        self, encoder: Encoder, x: Float[Tensor, "n d_model"], y: Float[Tensor, "n d_out"], pairs: Pairs, batch: Pass
    ) -> Reconstruction:
        """Returns the losses of what fires."""
        acts = self.selected(self.centred(x).detach(), pairs, batch)
        residual = y - self.base(x) - self.decoded(acts, pairs, batch)
        fvu = residual.square().sum() / batch.variance
        return Reconstruction(fvu, fvu, residual)

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
        encoder = Encoder(self.coder.W_enc, self.coder.get_parameter("b_enc"), self.options.autocast, self.split)
        with torch.no_grad():
            centred = self.centred(x)
            pairs = self.pairs(encoder, centred)
        with torch.enable_grad():
            loss, fvu, residual = self.reconstruction(encoder, x, y, pairs, batch)
            residual = residual.detach()
            aux = auxk_loss(self, centred, residual, dead, batch)
            loss = loss if aux is None else loss + aux
            self.differentiate(loss, batch)
        loss, fvu = tokens.sum_(torch.stack([loss.detach(), fvu.detach()]))
        l0 = everyone.sum_(torch.tensor(float(len(pairs.acts)), device=x.device)) / n
        fired = tokens.sum_(torch.bincount(pairs.latents, minlength=self.coder.d_sae)) > 0
        least = everyone.least_(pairs.acts.min() if len(pairs.acts) else torch.full_like(loss, torch.inf))
        least_act = least if bool(least.isfinite()) else None
        return Backward(batch.sums, Losses(loss, fvu, l0), fired, residual, least_act)
