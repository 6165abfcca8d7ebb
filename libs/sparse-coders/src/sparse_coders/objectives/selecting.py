"""Objectives of coders that keep a given number of latents: TopK, BatchTopK and Matryoshka.

The encoder's forward pass is the only dense product; see `sparse_coders.objectives.pairs` for the derivatives.
"""

from abc import abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sparse_coders.objectives.auxk import auxk_loss
from sparse_coders.objectives.objective import Backward, Losses, Objective, total_variance
from sparse_coders.objectives.pairs import Pairs, decoded, selected
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
        self, encoder: Encoder, x: Float[Tensor, "n d_model"], y: Float[Tensor, "n d_out"], pairs: Pairs
    ) -> Reconstruction:
        """Returns the losses of what fires."""
        acts = selected(self.coder, self.b_enc, self.centred(x).detach(), pairs)
        residual = y - self.base(x) - decoded(acts, self.coder.W_dec, pairs)
        fvu = residual.square().sum() / total_variance(y)
        return Reconstruction(fvu, fvu, residual)

    @property
    def b_enc(self) -> Float[Tensor, " d_sae"]:
        """The encoder's bias."""
        return self.coder.get_parameter("b_enc")

    def backward(
        self,
        x: Float[Tensor, "n d_model"],
        y: Float[Tensor, "n d_out"],
        dead: Int64[Tensor, " n_dead"],
        coefficient: float,
        bandwidth: float,
    ) -> Backward:
        """Returns the gradient for a batch."""
        encoder = Encoder(self.coder.W_enc, self.b_enc, self.options.autocast)
        with torch.no_grad():
            centred = self.centred(x)
            pairs = self.pairs(encoder, centred)
        with torch.enable_grad():
            loss, fvu, residual = self.reconstruction(encoder, x, y, pairs)
            residual = residual.detach()
            if len(dead) and self.options.auxk_alpha:
                aux = auxk_loss(
                    self.coder, self.b_enc, centred, residual, dead, total_variance(y), self.options.autocast
                )
                loss = loss + self.options.auxk_alpha * aux
            gradients = self.gradients(loss)
        l0 = torch.tensor(len(pairs.acts) / len(x), device=x.device)
        fired = torch.bincount(pairs.latents, minlength=self.coder.d_sae) > 0
        least = pairs.acts.min() if len(pairs.acts) else None
        return Backward(gradients, Losses(loss.detach(), fvu.detach(), l0), fired, residual, least)
