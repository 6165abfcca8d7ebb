"""What every objective gives: the gradient of a loss by the parameters that are trained.

The main loss is the FVU, the batch's squared error over its squared distance from its mean, so that its size depends
on neither the width nor the scale of the activations.

Where processes share a step, all are handed the whole batch. What one of them finds by its own tokens or latents is a
part of a sum; `sparse_coders.split` says which.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from sparse_coders.objectives.pairs import Pairs, decoded, selected
from sparse_coders.options import TrainerOptions
from sparse_coders.sparse_coder import SparseCoder
from sparse_coders.split import Split


class Losses(NamedTuple):
    """What a batch was worth, as scalars on the coder's device."""

    loss: Float[Tensor, ""]
    """All terms with their weights."""
    fvu: Float[Tensor, ""]
    l0: Float[Tensor, ""]
    """Mean number of latents that fired for a token."""


class Pass(NamedTuple):
    """What is known of a batch while its tokens go through."""

    n: int
    variance: Float[Tensor, ""]
    """Summed squared distance from the mean, of the whole batch: the unit of squared errors."""
    bandwidth: float
    """Of JumpReLU's kernel."""
    sums: dict[str, Tensor]
    """Gradients so far, by name of the parameter. Those as large as the weights are added to in place, so that there
    are never two."""


class Backward(NamedTuple):
    """All that one pass over a batch gives."""

    gradients: dict[str, Tensor]
    """By name of the parameter, from this process's tokens."""
    losses: Losses
    fired: Bool[Tensor, " d_sae"]
    residual: Float[Tensor, "n d_out"]
    """What was to be predicted minus what was, of this process's tokens."""
    least_act: Float[Tensor, ""] | None = None
    """BatchTopK: the least activation that was kept; None when nothing fired."""


class Objective(ABC):
    """The loss of one architecture."""

    def __init__(self, coder: SparseCoder, options: TrainerOptions, split: Split) -> None:
        """Keeps hold of the coder, whose parameters it reads in each pass and never changes."""
        self.coder, self.options, self.split = coder, options, split
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

    @property
    def b_dec_read(self) -> Float[Tensor, " d_model"] | None:
        """b_dec as the encoder subtracts it, where the derivative is a sum over latents; None of a transcoder."""
        return None if self.coder.transcoder else self.split.latents.shared(self.coder.b_dec)

    def selected(self, centred: Float[Tensor, "n d_model"], pairs: Pairs, batch: Pass) -> Float[Tensor, " pairs"]:
        """Returns the activations of pairs, to be differentiated."""
        b_enc = self.coder.get_parameter("b_enc")
        return selected(self.coder.W_enc, b_enc, self.b_dec_read, centred, pairs, batch.sums.get("W_enc"))

    def decoded(self, acts: Float[Tensor, " pairs"], pairs: Pairs, batch: Pass) -> Float[Tensor, "n d_out"]:
        """Returns what pairs give, those of all processes together, to be differentiated."""
        return self.split.latents.summed(decoded(acts, self.coder.W_dec, pairs, batch.sums.get("W_dec")))

    def base(self, x: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_out"]:
        """Returns what is predicted when no latent fires."""
        base = self.coder.b_dec.expand(len(x), -1)
        return base if self.coder.W_skip is None else base + x @ self.coder.W_skip.T

    def begun(self, n: int, variance: Float[Tensor, ""], bandwidth: float) -> Pass:
        """Returns a pass before its first token."""
        return Pass(n, variance, bandwidth, {name: torch.zeros_like(value) for name, value in self.trained.items()})

    def differentiate(self, loss: Float[Tensor, ""], batch: Pass) -> None:
        """Adds the loss's derivative by each trained parameter to the sums."""
        if not self.trained:
            return
        found = torch.autograd.grad(loss, list(self.trained.values()), allow_unused=True)
        for name, value in zip(self.trained, cast("tuple[Tensor | None, ...]", found), strict=True):
            if value is not None:  # else it does not depend on this one, or was added in place
                batch.sums[name] += value


def total_variance(y: Float[Tensor, "n d_out"]) -> Float[Tensor, ""]:
    """Returns the batch's summed squared distance from its mean."""
    return (y - y.mean(0)).square_().sum()
