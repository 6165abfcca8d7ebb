"""One training step of any coder, and everything that the next one depends on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sparse_coders.initial import normalise_decoder
from sparse_coders.objectives import Backward, objective_of
from sparse_coders.objectives.selection import Encoder
from sparse_coders.optimisers import Optimiser
from sparse_coders.options import TrainerOptions
from sparse_coders.resampling import resample
from sparse_coders.saved_tensor import saved_tensor
from sparse_coders.sparse_coder import SparseCoder
from sparse_coders.sparsity_control import SparsityControl
from sparse_coders.split import Split, divided_names

_THRESHOLD_STEPS = 20
"""Steps over which BatchTopK's threshold is averaged."""
_THRESHOLD_RATE = 10.0
"""JumpReLU: how many learning rates thresholds move in a step, in standard deviations of the first pre-activations."""
_SCALE_TOKENS = 512
_ROWS = 4096
"""Decoder rows that are projected at a time."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a step saw, before it changed the weights."""

    loss: float
    """All terms with their weights."""
    fvu: float
    """Fraction of the batch's variance unexplained."""
    l0: float
    """Mean number of latents that fired for a token."""
    dead_fraction: float
    """Share of the latents that did not fire in the last dead_tokens tokens."""


class CoderTrainer:
    """Trains a coder of any architecture in place, in plain PyTorch, alone or together with other processes."""

    kernels: Literal["reference", "compiled", "triton"] = "reference"
    """What takes the steps, from the first one on: plain PyTorch, compiled kernels or Triton's."""
    kernels_refused: str | None = None
    """Why kernels that were meant to take them do not; see `sparse_coders.kernel_check`."""

    def __init__(self, coder: SparseCoder, options: TrainerOptions, split: Split | None = None) -> None:
        """Takes over a coder.

        Args:
            coder: Float32 weights, on the device that shall train: the whole coder, or the `shard_of` it that this
                process shall train.
            options: How.
            split: How processes share a step, all of which are handed the same batches; None: this one is alone.

        Raises:
            InvalidOption: the options do not fit the coder, or PyTorch has no such optimiser.
        """
        self.coder, self.options = coder, options
        self._split = split or Split()
        self._objective = objective_of(coder, options, self._split)
        self._optimiser = Optimiser(self._objective.trained, options)
        self._sparsity = SparsityControl(coder, options)
        self._idle_tokens = torch.zeros(coder.d_sae, dtype=torch.int64, device=coder.device)
        self._token_count = torch.zeros((), dtype=torch.int64)
        self._step_count = torch.zeros((), dtype=torch.int64)
        self._pre_scale = torch.zeros((), dtype=torch.float64)
        self._one_threshold = coder.own_shapes().get("threshold") == ()
        self._last: Float[Tensor, "n d_model"] | None = None
        self._ema: dict[str, Tensor] = {}
        if options.ema_decay is not None:
            self._ema = {name: value.detach().clone() for name, value in self._objective.trained.items()}

    @torch.no_grad()
    def step(self, x: Float[Tensor, "n d_model"], y: Float[Tensor, "n d_out"], learning_rate: float) -> StepReport:
        """Trains on a batch.

        Args:
            x: What the coder reads, in its dtype and on its device.
            y: What it shall give: x itself for an autoencoder.
            learning_rate: Of this step.
        """
        is_dead = self._idle_tokens >= self.options.dead_tokens
        dead = is_dead.nonzero().flatten()
        centred = self._objective.centred(x)
        result = self._objective.backward(x, y, dead, self._sparsity.coefficient, self._bandwidth(centred))
        for gradient in result.gradients.values():
            self._split.tokens.sum_(gradient)
        self._update(result.gradients, dead, learning_rate)
        self._idle_tokens.add_(len(x)).masked_fill_(result.fired, 0)
        self._resample(centred, result, dead)
        self._token_count += len(x)
        self._step_count += 1
        self._average(result)
        self._last = x if self._one_threshold else None
        dead_fraction = self._split.latents.sum_(is_dead.float().mean()) / self._split.latents.size
        scalars = torch.stack([*result.losses, dead_fraction]).cpu()  # one wait for a GPU, not four
        report = StepReport(*(float(scalar) for scalar in scalars))
        self._sparsity.update(report.l0, learning_rate, int(self._step_count))
        return report

    def state(self) -> dict[str, Tensor]:
        """Returns every tensor that the next step depends on."""
        weights = {f"weights.{name}": value.detach() for name, value in self.coder.named_parameters()}
        ema = {f"ema.{name}": value for name, value in self._ema.items()}
        return weights | self._optimiser.state() | self._sparsity.state() | ema | self._counters()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes up where another trainer of such a coder with the same options was when it called `state`.

        Raises:
            MalformedCoder: a tensor is missing or has another shape.
        """
        for name, value in self.coder.named_parameters():
            value.data = saved_tensor(state, f"weights.{name}", value)
        self._optimiser.load_state(state)
        self._sparsity.load_state(state)
        self._ema = {name: saved_tensor(state, f"ema.{name}", value) for name, value in self._ema.items()}
        for name, value in self._counters().items():
            value.copy_(saved_tensor(state, name, value))

    @torch.no_grad()
    def finish(self) -> None:
        """Puts averaged weights and BatchTopK's threshold for these into the coder. No step may follow."""
        self._optimiser.finish()
        for name, value in self._ema.items():
            self.coder.get_parameter(name).copy_(value)
        if self.options.unit_decoder(self.coder):
            normalise_decoder(self.coder)
        if self._last is not None:
            self._settle_threshold(self._last)

    def _settle_threshold(self, x: Float[Tensor, "n d_model"]) -> None:
        """Sets BatchTopK's threshold to what the last batch's choice comes to with the finished weights.

        The average over steps lags where weights still move, and is not of weights that were averaged. Only the last
        batch is looked at: a run that was resumed before it has seen no more.
        """
        tokens, everyone = self._split.tokens, self._split.everyone
        assert self.options.k is not None
        encoder = Encoder(self.coder.W_enc, self.coder.get_parameter("b_enc"), "none", self._split)
        pairs = encoder.strongest_of_all(self._objective.centred(x[tokens.rows(len(x))]), self.options.k * len(x))
        least = everyone.least_(pairs.acts.min() if len(pairs.acts) else x.new_full((), torch.inf))
        if bool(least.isfinite()):
            self.coder.get_parameter("threshold").copy_(least)

    def _counters(self) -> dict[str, Tensor]:
        found = {"idle_tokens": self._idle_tokens, "token_count": self._token_count, "step_count": self._step_count}
        return found | ({"pre_scale": self._pre_scale} if self.coder.architecture == "jumprelu" else {})

    def _bandwidth(self, centred: Float[Tensor, "n d_model"]) -> float:
        """Returns the width of JumpReLU's kernel, in the unit that the first batch says."""
        if self.coder.architecture == "jumprelu" and self._step_count == 0:
            pre = torch.addmm(self.coder.get_parameter("b_enc"), centred[:_SCALE_TOKENS], self.coder.W_enc.T)
            count, latents = pre.numel() * self._split.latents.size, self._split.latents
            mean = latents.sum_(pre.sum()) / count
            self._pre_scale.fill_((latents.sum_((pre - mean).square_().sum()) / (count - 1)).sqrt())
        return self.options.jumprelu_bandwidth * self._pre_scale.item()

    def _update(self, gradients: dict[str, Tensor], dead: Int64[Tensor, " n_dead"], learning_rate: float) -> None:
        unit = self.options.unit_decoder(self.coder)
        if unit:
            for rows, gradient in zip(self.coder.W_dec.split(_ROWS), gradients["W_dec"].split(_ROWS), strict=True):
                gradient.addcmul_(rows, (gradient * rows).sum(1, keepdim=True), value=-1)
        if self.options.max_grad_norm is not None:
            self._clip(gradients, self.options.max_grad_norm)
        self._optimiser.step(gradients, learning_rate, {"threshold": _THRESHOLD_RATE * self._pre_scale.item()})
        if unit:
            normalise_decoder(self.coder)
        if "threshold" in gradients:
            threshold = self.coder.get_parameter("threshold").clamp_(min=0)
            # No derivative lowers the threshold of a latent that is never near it.
            threshold[dead] *= max(0.0, 1 - _THRESHOLD_RATE * learning_rate)

    def _resample(self, centred: Float[Tensor, "n d_model"], result: Backward, dead: Int64[Tensor, " n_dead"]) -> None:
        """Starts dead latents anew when a multiple of resample_tokens is passed."""
        every, seen, n = self.options.resample_tokens, int(self._token_count), len(centred)
        if every is None or seen // every == (seen + n) // every:
            return
        latents = self._split.latents
        if not any(latents.counts(len(dead), dead.device)):
            return
        generator = torch.Generator().manual_seed(self.options.seed + seen)
        residual = torch.cat(self._split.tokens.gathered(result.residual))
        resample(self.coder, centred, residual, dead, generator, latents)
        for name in {"W_enc", "W_dec", *self.coder.own_shapes()} & set(self._objective.trained):
            self._optimiser.forget(name, dead)
        self._idle_tokens[dead] = 0

    def _average(self, result: Backward) -> None:
        """Follows the weights, and the least activation that BatchTopK kept."""
        count = int(self._step_count)
        for name, average in self._ema.items():
            assert self.options.ema_decay is not None
            # Young averages forget faster, so that the start does not stay in them.
            decay = min(self.options.ema_decay, count / (count + 9))
            average.lerp_(self.coder.get_parameter(name), 1 - decay)
        if result.least_act is not None and self._one_threshold:
            threshold = self.coder.get_parameter("threshold")
            threshold.lerp_(result.least_act, 1 / min(count, _THRESHOLD_STEPS))

    def _clip(self, gradients: dict[str, Tensor], largest: float) -> None:
        """Scales all gradients so that their common L2 norm is at most `largest`, in place."""
        divided = divided_names(self.coder)
        squares = torch.zeros(2, device=self.coder.device)
        for name, value in gradients.items():
            squares[int(name in divided)] += value.square().sum()
        self._split.latents.sum_(squares[1:])
        norm = squares.sum().sqrt()
        scale = (largest / norm.clamp_min(torch.finfo(norm.dtype).tiny)).clamp(max=1.0)
        for value in gradients.values():
            value.mul_(scale)
