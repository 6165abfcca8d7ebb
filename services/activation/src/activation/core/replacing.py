"""A clean pass over some rows, then passes over the same rows in which one hookpoint gives something else."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from activation.core.shortcut import Recorded, Shortcut, layers_before
from activation.core.splice import Splice
from activation.core.unembed import Unembedding


@dataclass(frozen=True, slots=True, eq=False)
class CleanPass:
    """A pass in which nothing is replaced."""

    input_ids: Int64[Tensor, "batch pos"]
    states: Float[Tensor, "batch pos d_model"]
    """Last hidden states."""
    values: Mapping[str, Float[Tensor, "batch pos d"]]
    """By hookpoint."""
    recorded: Mapping[str, Any]
    """By replaced hookpoint: what the last layer before it gave."""


class Replacer:
    """Runs a model clean, and with one hookpoint replaced.

    Memory: a copy of each hookpoint's value, and of the last layer's output before each replaced one.
    """

    def __init__(self, unembedding: Unembedding, base: nn.Module, read: Sequence[str], replaced: Sequence[str]) -> None:
        """Hookpoints are named from `base`; `read` ones are kept by a clean pass, `replaced` ones too.

        Raises ValueError for an unknown one.
        """
        self._unembedding = unembedding
        self._base = base
        self._names = list(dict.fromkeys([*read, *replaced]))
        self._layers = {name: layers_before(base, name) for name in replaced}
        self._unchecked = set(replaced)

    @torch.no_grad()
    def clean(self, input_ids: Int64[Tensor, "batch pos"]) -> CleanPass:
        """Runs the model as it is. Raises ValueError for a hookpoint that has no vector per token."""
        values: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[[Tensor, Tensor], Tensor]:
            def edit(value: Tensor, read: Tensor) -> Tensor:
                # A copy: some models write into it later in the pass.
                values[name] = value.clone()
                return value

            return edit

        with ExitStack() as stack:
            stack.enter_context(Splice(self._base, {name: keep(name) for name in self._names}))
            records = {
                name: stack.enter_context(Recorded(self._base, layers))
                for name, layers in self._layers.items()
                if layers
            }
            states = self._unembedding.states(input_ids)
        for name in self._names:
            if name not in values:
                raise ValueError(f"the hookpoint {name!r} is never reached")
        done = CleanPass(input_ids, states, values, {name: record.output for name, record in records.items()})
        self._check_shortcuts(done)
        return done

    @torch.no_grad()
    def replaced(
        self, clean: CleanPass, hookpoint: str, where: Bool[Tensor, "batch pos"], by: Float[Tensor, "*n d"]
    ) -> Float[Tensor, "batch pos d_model"]:
        """Returns the last hidden states when a hookpoint gives other vectors at some positions.

        by: one vector for each position in `where`, row by row, or one vector for all of them. Positions outside
        `where` keep what the hookpoint gives.
        """

        def edit(value: Tensor, read: Tensor) -> Tensor:
            edited = value.clone()
            edited[where] = by.to(value)
            return edited

        return self._edited(clean, hookpoint, edit)

    def _edited(
        self, clean: CleanPass, hookpoint: str, edit: Callable[[Tensor, Tensor], Tensor]
    ) -> Float[Tensor, "batch pos d_model"]:
        layers = self._layers[hookpoint]
        with ExitStack() as stack:
            if layers:
                stack.enter_context(Shortcut(self._base, layers, clean.recorded[hookpoint]))
            stack.enter_context(Splice(self._base, {hookpoint: edit}))
            return self._unembedding.states(clean.input_ids)

    def _check_shortcuts(self, clean: CleanPass) -> None:
        """Gives up the shortcuts with which a pass that replaces nothing is not the clean pass, bit for bit.

        Such a model passes more than one layer's output on: a cache, the first layer's values, shared keys.
        """
        for name in sorted(self._unchecked):
            self._unchecked.discard(name)
            if self._layers[name]:
                try:
                    same = torch.equal(self._edited(clean, name, lambda value, _read: value), clean.states)
                except (ValueError, TypeError, RuntimeError, AttributeError, KeyError, IndexError):
                    same = False
                if not same:
                    self._layers[name] = []
