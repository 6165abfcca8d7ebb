"""Replaces what modules give, or what they are called with, in forward passes of a model."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from hooked_models.core.hooks import first_tensor, input_tensor
from hooked_models.core.names import module_of
from jaxtyping import Float
from torch import Tensor, nn

Edit = Callable[[Float[Tensor, "batch pos d_out"], Float[Tensor, "batch pos d_in"]], Float[Tensor, "batch pos d_out"]]
"""The new value from the old one and the module's input. At a hookpoint ".input" both are the module's input."""


class Splice:
    """Edits at some hookpoints of a model, while the context is open.

    A module that gives a tuple keeps its other elements. An edit that returns the tensor it was given changes nothing,
    bit for bit. Several edits in one pass see each other's results, in the order in which their modules run.
    """

    def __init__(self, model: nn.Module, edits: Mapping[str, Edit]) -> None:
        """`model` is what will be called, with token ids or embeddings; hookpoints are named from it.

        Raises ValueError for an unknown hookpoint, and in the pass for one without a vector per token, or for an
        edit that returns another shape.
        """
        self._model = model
        self._edits = dict(edits)
        modules = dict(model.named_modules())
        self._places: dict[str, tuple[nn.Module, bool]] = {}
        for name in edits:
            found = module_of(name, modules)
            if found is None:
                raise ValueError(f"there is no module {name!r}")
            self._places[name] = (modules[found[0]], found[1])
        self._shape: tuple[int, int] = (0, 0)
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        self._handles.append(self._model.register_forward_pre_hook(self._measure, with_kwargs=True))
        for name, (module, reads) in self._places.items():
            self._handles.append(
                module.register_forward_pre_hook(self._before(name), with_kwargs=True)
                if reads
                else module.register_forward_hook(self._after(name), with_kwargs=True)
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _measure(self, model: nn.Module, args: Any, kwargs: Any) -> None:
        given = args[0] if args else kwargs.get("input_ids")
        given = kwargs["inputs_embeds"] if given is None else given
        self._shape = (given.shape[0], given.shape[1])

    def _before(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
            value = _present(name, input_tensor(args, kwargs, *self._shape))
            edited = self._edited(name, value, value)
            if args:
                return (_put(args[0], edited), *args[1:]), kwargs
            key = "hidden_states" if "hidden_states" in kwargs else next(iter(kwargs))
            return args, {**kwargs, key: _put(kwargs[key], edited)}

        return hook

    def _after(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            value = _present(name, first_tensor(output, *self._shape))
            read = input_tensor(args, kwargs, *self._shape)
            # Token ids are no vectors: an embedding has no input that a coder could read.
            return _put(output, self._edited(name, value, value if read is None else read))

        return hook

    def _edited(self, name: str, value: Tensor, read: Tensor) -> Tensor:
        edited = self._edits[name](value, read)
        if edited.shape != value.shape:
            raise ValueError(f"{name!r} gives {tuple(value.shape)}, and the edit {tuple(edited.shape)}")
        return edited.to(value)


def _present(name: str, value: Tensor | None) -> Tensor:
    if value is None:
        raise ValueError(f"the hookpoint {name!r} gives no tensor of one vector per token")
    return value


def _put(whole: Any, edited: Tensor) -> Any:
    """Returns what a module gave with its tensor, of tuples the first element, replaced."""
    if isinstance(whole, Tensor):
        return edited.reshape(whole.shape)
    items = [_put(whole[0], edited), *whole[1:]]
    return type(whole)(*items) if hasattr(whole, "_fields") else type(whole)(items)
