"""What every objective gives: the gradient of a loss by the parameters that are trained.

The main loss is the FVU, the batch's squared error over its squared distance from its mean, so that its size depends
on neither the width nor the scale of the activations.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from sparse_coders.options import TrainerOptions
from sparse_coders.sparse_coder import SparseCoder


class Losses(NamedTuple):
    """What a batch was worth, as scalars on the coder's device."""

    loss: Float[Tensor, ""]
    """All terms with their weights."""
    fvu: Float[Tensor, ""]
    l0: Float[Tensor, ""]
    """Mean number of latents that fired for a token."""


class Backward(NamedTuple):
    """All that one pass over a batch gives."""

    gradients: dict[str, Tensor]
    """By name of the parameter."""
    losses: Losses
    fired: Bool[Tensor, " d_sae"]
    residual: Float[Tensor, "n d_out"]
    """What was to be predicted minus what was."""
    least_act: Float[Tensor, ""] | None = None
    """BatchTopK: the least activation that was kept; None when nothing fired."""


class Objective(ABC):
    """The loss of one architecture."""

    def __init__(self, coder: SparseCoder, options: TrainerOptions) -> None:
        """Keeps hold of the coder, whose parameters it reads in each pass and never changes."""
        self.coder, self.options = coder, options
        self.trained = {name: value for name, value in coder.named_parameters() if name not in self._fixed()}

    @abstractmethod
    def backward(
        self,
        x: Float[Tensor, "n d_model"],
        y: Float[Tensor, "n d_out"],
        dead: Int64[Tensor, " n_dead"],
        coefficient: float,
        bandwidth: float,
    ) -> Backward:
        """Returns the gradient for a batch.

        Args:
            x: What the coder reads, in its dtype and on its device.
            y: What it shall give.
            dead: Latents that the auxiliary loss shall revive.
            coefficient: Weight of the sparsity penalty; not looked at where k says how many latents fire.
            bandwidth: Of JumpReLU's kernel, in units of pre-activations.
        """

    def _fixed(self) -> frozenset[str]:
        if self.options.frozen == "all":
            return frozenset(name for name, _ in self.coder.named_parameters())
        return frozenset({"W_dec"} if self.options.frozen == "decoder" else ())

    def centred(self, x: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_model"]:
        """Returns what the encoder multiplies."""
        return x if self.coder.transcoder else x - self.coder.b_dec

    def base(self, x: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_out"]:
        """Returns what is predicted when no latent fires."""
        base = self.coder.b_dec.expand(len(x), -1)
        return base if self.coder.W_skip is None else base + x @ self.coder.W_skip.T

    def gradients(self, loss: Float[Tensor, ""]) -> dict[str, Tensor]:
        """Returns the loss's derivative by each trained parameter, 0 where it does not depend on one."""
        if not self.trained:
            return {}
        found = torch.autograd.grad(loss, list(self.trained.values()), allow_unused=True, materialize_grads=True)
        return dict(zip(self.trained, found, strict=True))


def total_variance(y: Float[Tensor, "n d_out"]) -> Float[Tensor, ""]:
    """Returns the batch's summed squared distance from its mean."""
    return (y - y.mean(0)).square_().sum()
