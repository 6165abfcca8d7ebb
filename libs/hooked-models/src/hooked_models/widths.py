"""The widths of a model's hookpoints, by a pass with tensors that have shapes but no values. Imports torch."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from hooked_models.core.hooks import first_tensor, input_tensor
from hooked_models.core.names import INPUT

_PROBE = (2, 8)
"""Batch and tokens of the pass."""


def measured_widths(base: Any, prefix: str) -> dict[str, int | None]:
    """Returns the widths of hookpoints: of modules called once, where each token has one vector.

    Null where nobody knows before the model runs: of a module that needs values, as experts that compute for no token
    but theirs, and of all modules when the pass fails otherwise.

    Args:
        base: Without its head, made under a FakeTensorMode that is still open; of no use afterwards.
        prefix: The path of `base` in the whole model.
    """
    modules = {f"{prefix}.{name}" if prefix else name: module for name, module in base.named_modules() if name}
    found: dict[str, int | None] = {}
    calls: Counter[str] = Counter()
    for name, module in modules.items():
        _measure(name, module, modules, found, calls)
    try:
        base(input_ids=torch.zeros(_PROBE, dtype=torch.long))
    except Exception:  # noqa: BLE001  whatever a model does with values that are not there: then names are all we know
        return {hookpoint: None for name in modules for hookpoint in (name, f"{name}{INPUT}")}
    order = [hookpoint for name in modules if calls[name] == 1 for hookpoint in (name, f"{name}{INPUT}")]
    return {hookpoint: found[hookpoint] for hookpoint in order if hookpoint in found}


def _measure(
    name: str, module: Any, modules: Mapping[str, Any], found: dict[str, int | None], calls: Counter[str]
) -> None:
    """Hooks a module: notes the widths of what it reads and gives, and that it is called."""
    guessed: list[bool] = []

    def before(module: Any, args: Any, kwargs: Any) -> None:
        calls[name] += 1
        read = input_tensor(args, kwargs, *_PROBE)
        if read is not None and f"{name}{INPUT}" not in modules:
            found[f"{name}{INPUT}"] = int(read.shape[-1])

    def after(module: Any, args: Any, output: Any) -> None:
        given = first_tensor(output, *_PROBE)
        if given is not None:
            found[name] = None if guessed else int(given.shape[-1])

    module.register_forward_pre_hook(before, with_kwargs=True)
    module.register_forward_hook(after)
    module.forward = _without_values(module.forward, guessed)


def _without_values(forward: Callable[..., Any], guessed: list[bool]) -> Callable[..., Any]:
    """Returns a forward pass that, where it needs values, gives what it read and notes that this was a guess."""

    @wraps(forward)
    def tried(*args: Any, **kwargs: Any) -> Any:
        try:
            return forward(*args, **kwargs)
        except (DataDependentOutputException, DynamicOutputShapeException):
            tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
            if not tensors or not tensors[0].is_floating_point():
                raise
            guessed.append(True)
            return tensors[0].clone()

    return tried
