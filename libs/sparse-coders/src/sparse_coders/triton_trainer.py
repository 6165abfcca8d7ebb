"""Training a TopK coder with Adam on a GPU by Triton kernels: no gradient as large as the weights is made.

As `sparse_coders.fused_trainer` does on a CPU: tiles of tokens pass through the encoder and what is strongest is kept;
then each latent's gradient is summed over its tokens and at once projected, stepped by Adam and renormalised. Every sum
goes in one order, so that a run gives the same bits each time.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sparse_coders.auxk import auxk_rows
from sparse_coders.coder_trainer import CoderTrainer, StepReport
from sparse_coders.kernel_check import disagreement
from sparse_coders.objectives.objective import total_variance
from sparse_coders.options import TrainerOptions
from sparse_coders.sparse_coder import tile_height
from sparse_coders.topk_coder import TopKCoder
from sparse_coders.triton_kernels.adam import Extra, Fired, Moments, Step, bias_gradient, update_latents
from sparse_coders.triton_kernels.decoding import decode
from sparse_coders.triton_kernels.selection import strongest


class TritonTopKTrainer(CoderTrainer):
    """`CoderTrainer` for TopK coders with Adam, with the same states."""

    kernels = "triton"

    def __init__(self, coder: TopKCoder, options: TrainerOptions) -> None:
        """Takes over a coder.

        Args:
            coder: Contiguous float32 weights on a GPU, or anywhere in Triton's interpreter; no skip connection.
            options: How; `sparse_coders.trainers.has_kernels` must hold.
        """
        super().__init__(coder, options)
        self._k = coder.k

    @torch.no_grad()
    def step(self, x: Float[Tensor, "n d_model"], y: Float[Tensor, "n d_out"], learning_rate: float) -> StepReport:
        """Trains on a batch, see `CoderTrainer.step`."""
        is_dead = self._idle_tokens >= self.options.dead_tokens
        centred, variance = self._objective.centred(x).contiguous(), total_variance(y)
        acts, latents = self._encoded(centred)
        error, d_acts = y - self.coder.b_dec, torch.empty_like(acts)
        decode(acts, latents, self.coder.W_dec, error, d_acts)
        fired = self._by_latent(acts, latents, d_acts)
        loss = fvu = error.square().sum() / variance
        auxk, extra = self._auxiliary(centred, error, is_dead.nonzero().flatten(), variance)
        self._step_rows(fired, centred, error, extra, 2 / variance, learning_rate)
        self._idle_tokens.add_(len(x)).masked_fill_(fired.offsets.diff() > 0, 0)
        self._token_count += len(x)
        self._step_count += 1
        l0 = (acts > 0).sum() / len(x)
        scalars = torch.stack([loss + self.options.auxk_alpha * auxk, fvu, l0, is_dead.float().mean()])
        return StepReport(*scalars.tolist())

    def _encoded(self, centred: Float[Tensor, "n d_model"]) -> tuple[Float[Tensor, "n k"], Int64[Tensor, "n k"]]:
        """Returns the k strongest latents of each token; pre-activations exist for a tile of tokens at a time."""
        b_enc, W_enc = self.coder.get_parameter("b_enc"), self.coder.W_enc
        tiles = centred.split(tile_height(self.coder.d_sae, centred.device))
        chosen = [strongest(torch.addmm(b_enc, tile, W_enc.T).relu_(), self._k) for tile in tiles]
        return torch.cat([acts for acts, _ in chosen]), torch.cat([latents for _, latents in chosen])

    def _by_latent(
        self, acts: Float[Tensor, "n k"], latents: Int64[Tensor, "n k"], d_acts: Float[Tensor, "n k"]
    ) -> Fired:
        """Sorts what fired by latent, then by token."""
        of = torch.where(acts > 0, latents, self.coder.d_sae).flatten()
        ends = torch.bincount(of, minlength=self.coder.d_sae + 1)[:-1].cumsum(0)
        return Fired(torch.cat((ends.new_zeros(1), ends)), of.sort(stable=True).indices, acts, d_acts)

    def _auxiliary(
        self,
        centred: Float[Tensor, "n d_model"],
        error: Float[Tensor, "n d_out"],
        dead: Int64[Tensor, " n_dead"],
        variance: Float[Tensor, ""],
    ) -> tuple[Float[Tensor, ""], Extra]:
        """Returns the auxiliary loss and its gradients, which are as many rows as latents are dead."""
        coder, rows = self.coder, torch.full((self.coder.d_sae,), -1, dtype=torch.int32, device=self.coder.device)
        assert isinstance(coder, TopKCoder)
        if not len(dead) or not self.options.auxk_alpha:
            nothing = centred.new_empty(0)
            return torch.zeros_like(variance), Extra(rows, nothing, nothing, nothing)
        rows[dead] = torch.arange(len(dead), dtype=torch.int32, device=coder.device)
        aux = auxk_rows(coder, centred, -error, dead, variance, self.options.auxk_alpha)
        return aux.loss, Extra(rows, aux.W_enc, aux.b_enc, aux.W_dec)

    def _step_rows(
        self,
        fired: Fired,
        centred: Float[Tensor, "n d_model"],
        error: Float[Tensor, "n d_out"],
        extra: Extra,
        scale: Float[Tensor, ""],
        learning_rate: float,
    ) -> None:
        """Steps all parameters."""
        coder, optimiser = self.coder, self._optimiser.state()
        moments = {
            name: Moments(value.detach(), optimiser[f"adam.{name}.exp_avg"], optimiser[f"adam.{name}.exp_avg_sq"])
            for name, value in coder.named_parameters()
        }
        step, factor = self._adam(optimiser, learning_rate), float(scale)
        d_b_enc, gradient = bias_gradient(fired, extra, factor), error.sum(0) * scale
        if not coder.transcoder:
            gradient -= d_b_enc @ coder.W_enc
        latents = moments["W_enc"], moments["b_enc"], moments["W_dec"]
        unit = self.options.unit_decoder(coder)
        update_latents(fired, centred, error, extra, d_b_enc, latents, step, factor, unit)
        value, mean, square = moments["b_dec"]
        mean.lerp_(gradient, step.rate1)
        square.lerp_(gradient.square(), step.rate2)
        value.sub_(step.size * mean / (square.sqrt() / step.correction + 1e-8))

    def _adam(self, optimiser: dict[str, Tensor], learning_rate: float) -> Step:
        """Counts a step of the optimiser and returns what it does."""
        for name, _ in self.coder.named_parameters():
            optimiser[f"adam.{name}.step"] += 1
        count = int(self._step_count) + 1
        beta1, beta2 = self.options.momentum, self.options.beta2
        correction = (1 - beta2**count) ** 0.5
        return Step(1 - beta1, 1 - beta2, learning_rate / (1 - beta1**count), correction)


class GuardedTritonTrainer(TritonTopKTrainer):
    """Triton's kernels if they pass a check on the first batch that this trainer sees, else plain PyTorch.

    No kernel has run on every GPU and under every version of Triton. What does not compile, or gives something else
    than plain PyTorch, takes no step of the coder.
    """

    _checked = False

    @torch.no_grad()
    def step(self, x: Float[Tensor, "n d_model"], y: Float[Tensor, "n d_out"], learning_rate: float) -> StepReport:
        """Trains on a batch, see `CoderTrainer.step`."""
        if not self._checked:
            assert isinstance(self.coder, TopKCoder)
            self.kernels_refused = disagreement(TritonTopKTrainer, self.coder, self.options, x, y)
            self.kernels = "triton" if self.kernels_refused is None else "reference"
            self._checked = True
        take = TritonTopKTrainer.step if self.kernels == "triton" else CoderTrainer.step
        return take(self, x, y, learning_rate)
