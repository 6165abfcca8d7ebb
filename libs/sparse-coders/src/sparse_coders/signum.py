"""Signum: Bernstein et al. (arXiv 1802.04434), algorithm 2."""

from collections.abc import Iterable
from typing import Any

import torch


class Signum(torch.optim.Optimizer):
    """Each weight moves by the learning rate against the sign of its gradient's moving average."""

    def __init__(self, groups: Iterable[dict[str, Any]], momentum: float) -> None:
        """Takes parameter groups, each with its `lr`."""
        super().__init__(groups, {"momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Moves every parameter that has a gradient."""
        for group in self.param_groups:
            for value in group["params"]:
                state = self.state[value]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(value)
                average = state["momentum_buffer"].lerp_(value.grad, 1 - group["momentum"])
                value.sub_(average.sign(), alpha=group["lr"])
