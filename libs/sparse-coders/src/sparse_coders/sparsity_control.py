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

    What is too weak grows without bound: no scale of activations and no bandwidth keeps the target out of reach.
    """

    def __init__(self, coder: SparseCoder, options: TrainerOptions) -> None:
        """Starts at the coefficient of the options."""
        start = options.l0_coefficient if coder.architecture == "jumprelu" else options.l1_coefficient
        self._target = options.target_l0
        self._fixed = start
        self._log = torch.tensor(math.log(max(start, 1e-12)), dtype=torch.float64)
        self._l0 = torch.tensor(0.0, dtype=torch.float64)

    @property
    def coefficient(self) -> float:
        """The weight for the next step."""
        return self._fixed if self._target is None else math.exp(self._log.item())

    def update(self, l0: float, learning_rate: float) -> None:
        """Takes note of how many latents fired for a token of a batch, and of the step's learning rate."""
        if self._target is None:
            return
        smooth = l0 if self._l0.item() == 0 else _SMOOTHING * self._l0.item() + (1 - _SMOOTHING) * l0
        self._l0.fill_(smooth)
        excess = math.log(max(smooth, 1e-3) / self._target)
        self._log += _RATE * math.sqrt(learning_rate) * min(1.0, max(-1.0, excess))

    def state(self) -> dict[str, Tensor]:
        """Returns what the next weight depends on."""
        return {} if self._target is None else {"sparsity.log_coefficient": self._log, "sparsity.l0": self._l0}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes up where another one was. Raises MalformedCoder when a tensor is missing."""
        if self._target is not None:
            self._log = saved_tensor(state, "sparsity.log_coefficient", self._log)
            self._l0 = saved_tensor(state, "sparsity.l0", self._l0)
