"""Optimisers whose state is tensors by name, so that a run goes on bit for bit."""

from collections.abc import Iterable, Mapping
from typing import Any

import schedulefree
import torch
from torch import Tensor, nn

from sparse_coders.errors import InvalidOption
from sparse_coders.options import TrainerOptions
from sparse_coders.saved_tensor import saved_tensor
from sparse_coders.signum import Signum

_AVERAGING = ("k", "weight_sum", "lr_max")
"""What schedule-free optimisers count outside of tensors."""


class Optimiser:
    """Updates parameters by their gradients."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], options: TrainerOptions) -> None:
        """Takes over the parameters.

        Args:
            parameters: By name; may be empty.
            options: Which optimiser, and its momentum.

        Raises:
            InvalidOption: this version of PyTorch has no such optimiser.
        """
        self._parameters = dict(parameters)
        self._name = options.optimiser
        self._optimisers = _made(self._parameters, options) if parameters else []

    def step(self, gradients: Mapping[str, Tensor], learning_rate: float, rates: Mapping[str, float]) -> None:
        """Moves every parameter.

        Args:
            gradients: By name.
            learning_rate: Of this step.
            rates: What it is multiplied by for a parameter, where that is not 1.
        """
        for name, value in self._parameters.items():
            value.grad = gradients[name]
        for _, group in self._groups():
            group["lr"] = learning_rate * rates.get(group["name"], 1.0)
        for optimiser in self._optimisers:
            optimiser.step()
            optimiser.zero_grad()

    def forget(self, name: str, rows: Tensor) -> None:
        """Sets the moments of some rows of a parameter to 0, for rows that start anew."""
        value = self._parameters.get(name)
        for optimiser, group in self._groups():
            if value is None or group["name"] != name:
                continue
            for key, moment in optimiser.state[value].items():
                if key == "z":
                    moment[rows] = value.detach()[rows]
                elif moment.shape == value.shape:
                    moment[rows] = 0

    def finish(self) -> None:
        """Puts the weights that a schedule-free optimiser averages into the parameters."""
        for optimiser in self._optimisers:
            if isinstance(optimiser, schedulefree.AdamWScheduleFree):
                optimiser.eval()

    def state(self) -> dict[str, Tensor]:
        """Returns every tensor that the next step depends on, beside the parameters."""
        found: dict[str, Tensor] = {}
        for optimiser, group in self._groups():
            prefix = f"{self._name}.{group['name']}"
            found |= {f"{prefix}.{key}": value for key, value in optimiser.state[group["params"][0]].items()}
            if self._name == "schedule_free":
                counts = {key: torch.tensor(group[key], dtype=torch.float64) for key in _AVERAGING}
                found |= {f"{prefix}.{key}": value for key, value in counts.items()}
        return found

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes up where another one was. Raises MalformedCoder when a tensor is missing or has another shape."""
        for optimiser, group in self._groups():
            prefix, own = f"{self._name}.{group['name']}", optimiser.state[group["params"][0]]
            for key, value in own.items():
                own[key] = saved_tensor(state, f"{prefix}.{key}", value)
            if self._name == "schedule_free":
                scalar = torch.zeros((), dtype=torch.float64)
                for key in _AVERAGING:
                    group[key] = type(group[key])(saved_tensor(state, f"{prefix}.{key}", scalar).item())

    def _groups(self) -> Iterable[tuple[torch.optim.Optimizer, dict[str, Any]]]:
        return [(optimiser, group) for optimiser in self._optimisers for group in optimiser.param_groups]


def _made(parameters: Mapping[str, nn.Parameter], options: TrainerOptions) -> list[torch.optim.Optimizer]:
    """Returns the optimisers, each parameter a group of its own, with their state as before the first step."""
    groups = [{"params": [value], "name": name, "lr": 0.0} for name, value in parameters.items()]
    beta1 = options.momentum
    if options.optimiser == "signum":
        optimisers: list[torch.optim.Optimizer] = [Signum(groups, beta1)]
    elif options.optimiser == "schedule_free":
        averaging = schedulefree.AdamWScheduleFree(groups, betas=(beta1, options.beta2))
        averaging.train()
        optimisers = [averaging]
    elif options.optimiser == "muon":
        optimisers = _muon(groups, beta1, options.beta2)
    else:
        optimisers = [torch.optim.Adam(groups, betas=(beta1, options.beta2), fused=True)]
    for optimiser in optimisers:
        for value in (value for group in optimiser.param_groups for value in group["params"]):
            optimiser.state[value] = _first_state(optimiser, value)
    return optimisers


def _muon(groups: list[dict[str, Any]], momentum: float, beta2: float) -> list[torch.optim.Optimizer]:
    """Returns Muon for matrices and Adam for the rest (Jordan 2024: Muon is defined for matrices)."""
    kind = getattr(torch.optim, "Muon", None)
    if kind is None:
        raise InvalidOption(
            f"PyTorch {torch.__version__} has no torch.optim.Muon; install torch 2.9 or later, "
            "or choose another optimiser"
        )
    matrices = [group for group in groups if group["params"][0].ndim == 2]
    rest = [group for group in groups if group["params"][0].ndim != 2]
    made = [kind(matrices, weight_decay=0.0, momentum=momentum)] if matrices else []
    return made + ([torch.optim.Adam(rest, betas=(0.9, beta2), fused=True)] if rest else [])


def _first_state(optimiser: torch.optim.Optimizer, value: Tensor) -> dict[str, Tensor]:
    value = value.detach()
    if isinstance(optimiser, torch.optim.Adam):
        step = torch.zeros((), dtype=torch.float32, device=value.device)
        return {"step": step, "exp_avg": torch.zeros_like(value), "exp_avg_sq": torch.zeros_like(value)}
    if isinstance(optimiser, schedulefree.AdamWScheduleFree):
        return {"z": value.clone(), "exp_avg_sq": torch.zeros_like(value)}
    return {"momentum_buffer": torch.zeros_like(value)}
