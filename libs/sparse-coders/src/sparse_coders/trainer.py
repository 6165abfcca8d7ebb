"""One training step, and everything that the next one depends on."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from sparse_coders.coder_trainer import StepReport
from sparse_coders.gradients import Gradients, gradients
from sparse_coders.initial import normalise_decoder
from sparse_coders.saved_tensor import saved_tensor
from sparse_coders.topk_coder import TopKCoder


class TopKTrainer:
    """Adam on a TopK coder, with unit-norm decoder rows and AuxK for latents that stopped firing."""

    def __init__(self, coder: TopKCoder, *, auxk_alpha: float = 1 / 32, dead_tokens: int = 10_000_000) -> None:
        """Takes over a coder and trains it in place.

        Args:
            coder: Float32 weights, on the device that shall train.
            auxk_alpha: Weight of the auxiliary loss; 0 switches it off.
            dead_tokens: A latent is dead when it did not fire in this many tokens.
        """
        self.coder = coder
        self._auxk_alpha = auxk_alpha
        self._dead_tokens = dead_tokens
        self._parameters = dict(coder.named_parameters())
        self._adam = torch.optim.Adam(self._parameters.values(), lr=0.0, fused=True)
        self._idle_tokens = torch.zeros(coder.d_sae, dtype=torch.int64, device=coder.device)

    @torch.no_grad()
    def step(self, x: Float[Tensor, "n d_model"], learning_rate: float) -> StepReport:
        """Trains on a batch of activations in the coder's dtype and on its device.

        The decoder's gradient loses its part along each decoder row before Adam sees it, and rows are scaled back to
        unit norm after (Bricken et al. 2023; sparsify's `normalize_decoder`).
        """
        is_dead = self._idle_tokens >= self._dead_tokens
        dead = is_dead.nonzero().flatten() if self._auxk_alpha else None
        result = gradients(self.coder, x, dead, self._auxk_alpha)
        self._update(result.gradients, learning_rate)
        self._idle_tokens.add_(len(x)).masked_fill_(result.fired, 0)
        scalars = torch.stack([*result.losses, is_dead.float().mean()]).cpu()  # one wait for a GPU, not four
        fvu, auxk, l0, dead_fraction = (float(scalar) for scalar in scalars)
        return StepReport(fvu + self._auxk_alpha * auxk, fvu, l0, dead_fraction)

    def _update(self, gradient: Gradients, learning_rate: float) -> None:
        W_dec = self.coder.W_dec
        parallel = (gradient.W_dec * W_dec).sum(1, keepdim=True)
        gradient.W_dec.addcmul_(W_dec, parallel, value=-1)
        for name, value in gradient._asdict().items():
            self._parameters[name].grad = value
        self._adam.param_groups[0]["lr"] = learning_rate
        self._adam.step()  # pyright: ignore[reportUnknownMemberType]
        self._adam.zero_grad()
        normalise_decoder(self.coder)

    def state(self) -> dict[str, Tensor]:
        """Returns every tensor that the next step depends on: weights, Adam's moments and count, idle tokens."""
        state = {f"weights.{name}": parameter.detach() for name, parameter in self._parameters.items()}
        for name, parameter in self._parameters.items():
            for key, value in self._adam.state[parameter].items():
                state[f"adam.{name}.{key}"] = value
        return state | {"idle_tokens": self._idle_tokens}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes up where another trainer of the same sizes was when it called `state`.

        Raises:
            MalformedCoder: a tensor is missing or has another shape.
        """
        for name, parameter in self._parameters.items():
            parameter.data = saved_tensor(state, f"weights.{name}", parameter)
            moments = {key: saved_tensor(state, f"adam.{name}.{key}", parameter) for key in ("exp_avg", "exp_avg_sq")}
            step = state[f"adam.{name}.step"].clone()
            self._adam.state[parameter] = {"step": step, **moments}
        self._idle_tokens = saved_tensor(state, "idle_tokens", self._idle_tokens)
