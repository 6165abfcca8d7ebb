"""Reads the outputs of modules in a forward pass that stops when the last of them is there."""

from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn


class _Done(Exception):
    """Ends a forward pass: every hookpoint has been read."""


def first_tensor(output: Any, batch: int, pos: int) -> Float[Tensor, "batch pos d"] | None:
    """Returns the tensor of a module's output, of tuples the first element; None where it has no value per token."""
    if isinstance(output, (tuple, list)):
        output = output[0] if output else None
    if not isinstance(output, Tensor):
        return None
    if output.ndim == 2 and output.shape[0] == batch * pos:
        # Experts and routers see tokens without the batch axis.
        return output.reshape(batch, pos, output.shape[1])
    return output if output.ndim == 3 and output.shape[:2] == (batch, pos) else None


class Capture:
    """Hooks on some modules of a model, while the context is open.

    The model is called with token ids only, so that no mask, cache or loss is made that nobody asked for.
    """

    def __init__(self, model: nn.Module, hookpoints: Sequence[str]) -> None:
        """`hookpoints` are module paths of `model`. Raises AttributeError when there is no such module."""
        self._model = model
        self._modules = {name: model.get_submodule(name) for name in hookpoints}
        self._found: dict[str, Any] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        for name, module in self._modules.items():
            self._handles.append(module.register_forward_hook(self._hook(name)))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    @torch.inference_mode()
    def run(self, input_ids: Int64[Tensor, "batch pos"]) -> dict[str, Float[Tensor, "batch pos d"]]:
        """Returns the output of each hookpoint.

        Raises ValueError for one that is never called or has no vector per token.
        """
        self._found.clear()
        with suppress(_Done):
            self._model(input_ids=input_ids)
        outputs: dict[str, Tensor] = {}
        for name in self._modules:
            output = first_tensor(self._found.pop(name, None), *input_ids.shape)
            if output is None:
                raise ValueError(f"the module {name!r} gives no tensor of one vector per token")
            outputs[name] = output
        return outputs

    def _hook(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            self._found[name] = output
            if len(self._found) == len(self._modules):
                raise _Done

        return hook
