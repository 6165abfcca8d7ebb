"""Spares the layers before a hookpoint, whose outputs a clean pass on the same tokens has given already."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from hooked_models.core.names import module_of
from torch import Tensor, nn


def layers_before(model: nn.Module, hookpoint: str) -> list[str]:
    """Returns the paths of the layers that are done when a hookpoint's value is there, the hookpoint's own included.

    Layers are the members of the outermost list of modules that the hookpoint lies in; none where it lies in no list.

    >>> layers_before(model, "layers.2.mlp")  # doctest: +SKIP
    ['layers.0', 'layers.1']
    """
    modules = dict(model.named_modules())
    found = module_of(hookpoint, modules)
    if found is None:
        raise ValueError(f"there is no module {hookpoint!r}")
    path, reads = found
    names = path.split(".")
    for depth in range(1, len(names)):
        parent = ".".join(names[:depth])
        if isinstance(modules[parent], nn.ModuleList):
            whole = depth + 1 == len(names) and not reads
            return [f"{parent}.{i}" for i in range(int(names[depth]) + int(whole))]
    return []


class Recorded:
    """Records, while the context is open, what the last of some layers gives."""

    def __init__(self, model: nn.Module, layers: Sequence[str]) -> None:
        self.output: Any = None
        self._module = model.get_submodule(layers[-1])
        self._handle: Any = None

    def __enter__(self) -> Self:
        self._handle = self._module.register_forward_hook(self._take)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._handle.remove()

    def _take(self, module: nn.Module, args: Any, output: Any) -> None:
        self.output = _copy(output)


class Shortcut:
    """Layers that give a recorded output at once, while the context is open; their hooks are called as ever.

    Each of the layers gives what the last one gave. That is right where only the next layer reads a layer's output;
    the caller makes sure by comparing one shortened pass with one that is not.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str], output: Any) -> None:
        self._modules = [model.get_submodule(name) for name in layers]
        self._output = output
        self._forwards: list[Any] = []

    def __enter__(self) -> Self:
        self._forwards = [module.forward for module in self._modules]
        for module in self._modules:
            module.forward = self._forward
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for module, forward in zip(self._modules, self._forwards, strict=True):
            module.forward = forward

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        # A copy: the next layer may write into it (residual streams that are added up in place).
        return _copy(self._output)


def _copy(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.clone()
    if isinstance(output, tuple | list):
        items = [_copy(item) for item in output]
        return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)
    return output
