"""Reads inputs and outputs of modules in a forward pass that stops when the last of them is there."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from hooked_models.core.names import module_of


class _Done(Exception):
    """Ends a forward pass: every hookpoint has been read."""


def first_tensor(value: Any, batch: int, pos: int) -> Float[Tensor, "batch pos d"] | None:
    """Returns the tensor of a module's output, of tuples the first element; None where it has no vector per token."""
    if isinstance(value, (tuple, list)):
        value = value[0] if value else None
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return None
    if value.ndim == 2 and value.shape[0] == batch * pos:
        # Experts and routers see tokens without the batch axis.
        return value.reshape(batch, pos, value.shape[1])
    return value if value.ndim == 3 and value.shape[:2] == (batch, pos) else None


def input_tensor(
    args: Sequence[Any], kwargs: Mapping[str, Any], batch: int, pos: int
) -> Float[Tensor, "batch pos d"] | None:
    """Returns the tensor that a module reads: its first argument, or the one that it gets as `hidden_states`."""
    value = args[0] if args else kwargs.get("hidden_states", next(iter(kwargs.values()), None))
    return first_tensor(value, batch, pos)


class Capture:
    """Hooks on some modules of a model, while the context is open.

    The model is called with token ids only, so that no mask, cache or loss is made that nobody asked for. Values are
    not copied. A model that writes into a tensor after it was read (Falcon's `mlp_output += attention_output`) is
    noticed by the tensor's version, and that hookpoint is copied from then on.
    """

    def __init__(self, model: nn.Module, hookpoints: Sequence[str]) -> None:
        """`hookpoints` are names from `model`, see `hooked_models.core.names`. Raises ValueError for an unknown one."""
        self._model = model
        modules = dict(model.named_modules())
        self._places: dict[str, tuple[nn.Module, bool]] = {}
        for name in hookpoints:
            found = module_of(name, modules)
            if found is None:
                raise ValueError(f"there is no module {name!r}")
            self._places[name] = (modules[found[0]], found[1])
        self._found: dict[str, tuple[Tensor | None, int]] = {}
        self._copied: set[str] = set()
        self._shape = (0, 0)
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        for name, (module, reads) in self._places.items():
            self._handles.append(
                module.register_forward_pre_hook(self._before(name), with_kwargs=True)
                if reads
                else module.register_forward_hook(self._after(name))
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    # Not inference_mode: its tensors have no version by which a later write shows.
    @torch.no_grad()
    def run(self, input_ids: Int64[Tensor, "batch pos"]) -> dict[str, Float[Tensor, "batch pos d"]]:
        """Returns the value of each hookpoint.

        Raises ValueError for one that is never called or has no vector per token.
        """
        self._pass(input_ids)
        written = {name for name, (tensor, version) in self._found.items() if _version(tensor) != version}
        if written:
            self._copied |= written
            self._pass(input_ids)
        values: dict[str, Tensor] = {}
        for name in self._places:
            value, _ = self._found.pop(name, (None, 0))
            if value is None:
                raise ValueError(f"the hookpoint {name!r} gives no tensor of one vector per token")
            values[name] = value
        return values

    def _pass(self, input_ids: Int64[Tensor, "batch pos"]) -> None:
        self._found.clear()
        batch, pos = input_ids.shape
        self._shape = (batch, pos)
        with suppress(_Done):
            self._model(input_ids=input_ids)

    def _before(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            self._take(name, input_tensor(args, kwargs, *self._shape))

        return hook

    def _after(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            self._take(name, first_tensor(output, *self._shape))

        return hook

    def _take(self, name: str, value: Tensor | None) -> None:
        if value is not None and name in self._copied:
            value = value.clone()
        self._found[name] = (value, _version(value))
        if len(self._found) == len(self._places):
            raise _Done


def _version(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor._version  # pyright: ignore[reportPrivateUsage]  torch gives it no public name
