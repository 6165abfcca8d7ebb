"""The weight of a sparsity penalty, adapted until as many latents fire as were asked for."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from sparse_coders.options import TrainerOptions
from sparse_coders.saved_tensor import saved_tensor
from sparse_coders.sparse_coder import SparseCoder

_RATE = 0.3
"""Largest relative change of the weight in a step over the root of the learning rate: at a lower one, latents answer
more slowly. On planted activations three times as much makes weight and L0 swing at rates from 3e-3."""
_SMOOTHING = 0.9


class SparsityControl:
    """An integral controller: the logarithm of the weight grows with that of L0 over the target.

    What is too weak grows without bound: no scale of activations and no bandwidth keeps the target out of reach. Over
    the warm-up the target falls, by the same factor a step, from the L0 of the first batch: a penalty that is strong at
    once closes latents before they have found what they stand for. It is the warm-up over a whole run of Anthropic
    (January 2025, "Dictionary learning optimization techniques"), of L0 in the place of the weight.
    """

    def __init__(self, coder: SparseCoder, options: TrainerOptions) -> None:
        """Starts at the coefficient of the options."""
        start = options.l0_coefficient if coder.architecture == "jumprelu" else options.l1_coefficient
        self._target, self._warmup = options.target_l0, options.l0_warmup_steps
        self._fixed = start
        self._log = torch.tensor(math.log(max(start, 1e-12)), dtype=torch.float64)
        self._l0 = torch.tensor(0.0, dtype=torch.float64)
        self._first_l0 = torch.tensor(0.0, dtype=torch.float64)

    @property
    def coefficient(self) -> float:
        """The weight for the next step."""
        return self._fixed if self._target is None else math.exp(self._log.item())

    def update(self, l0: float, learning_rate: float, step_count: int) -> None:
        """Takes note of how many latents fired for a token of a batch, and of learning rate and number of the step."""
        if self._target is None:
            return
        if step_count == 1:
            self._l0.fill_(l0)
            self._first_l0.fill_(max(l0, self._target))
        smooth = _SMOOTHING * self._l0.item() + (1 - _SMOOTHING) * l0
        self._l0.fill_(smooth)
        left = max(0.0, 1 - step_count / self._warmup) if self._warmup else 0.0
        target = self._target * (self._first_l0.item() / self._target) ** left
        excess = math.log(max(smooth, 1e-3) / target)
        self._log += _RATE * math.sqrt(learning_rate) * min(1.0, max(-1.0, excess))

    def state(self) -> dict[str, Tensor]:
        """Returns what the next weight depends on."""
        if self._target is None:
            return {}
        l0 = {"sparsity.l0": self._l0, "sparsity.first_l0": self._first_l0}
        return {"sparsity.log_coefficient": self._log, **l0}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes up where another one was. Raises MalformedCoder when a tensor is missing."""
        if self._target is not None:
            self._log = saved_tensor(state, "sparsity.log_coefficient", self._log)
            self._l0 = saved_tensor(state, "sparsity.l0", self._l0)
            self._first_l0 = saved_tensor(state, "sparsity.first_l0", self._first_l0)
