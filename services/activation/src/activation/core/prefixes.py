"""Forward passes that go on after tokens which a model has read already, for any architecture."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hooked_models.core.control import Occurrences
from jaxtyping import Float, Int64
from torch import Tensor, nn

from activation.core.splice import Edit, Splice
from activation.core.unembed import Unembedding

Edits = Callable[[int], Mapping[str, Edit]]
"""Edits that act from this position of a pass on."""

_MEMORIES = ("past_key_values", "cache_params", "state")
"""Where models give what they keep of past tokens: attention, Mamba, RWKV."""
_SAME = {torch.float32: 1e-3}
_SAME_HALF = 5e-2
"""Relative difference of last hidden states up to which a pass that goes on is the pass from the start.

A wrong one differs by as much as the states themselves; a right one by rounding.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Token sequences of equal length, each a piece of a token row."""

    ids: Int64[Tensor, "batch pos"]
    rows: Sequence[int]
    first_positions: Sequence[int]
    """Position in its row of each line's first token."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What a model has read so far of some lines."""

    lines: Lines
    edited_from: int | None
    """Position from which on there were edits; None without."""
    memory: Any
    """What the model keeps of these tokens; None where it begins anew in each pass."""


class Prefixes:
    """Reads lines piece by piece.

    What the model keeps of past tokens is used where that gives what a pass over all tokens gives: the first lines are
    read both ways. Otherwise each pass begins with the first token: the RWKV of transformers 5.23, for one, mixes up
    the lines of a batch when it goes on with a single token.
    """

    def __init__(self, base: nn.Module, unembedding: Unembedding, occurrences: Occurrences) -> None:
        self._base = base
        self._unembedding = unembedding
        self._occurrences = occurrences
        self.reuses: bool | None = None
        """Whether what was read is kept; None before the first lines."""

    def start(self, lines: Lines, count: int) -> Reading:
        """Reads the first `count` tokens of each line, which may be none, without edits."""
        if self.reuses is None and lines.ids.shape[1] > 1:
            places = {count, lines.ids.shape[1] - 1} - {0, lines.ids.shape[1]}
            self.reuses = all(self._goes_on_rightly(_two_or_more(lines), place) for place in sorted(places))
        return self._start(lines, count, keep=bool(self.reuses))

    @torch.no_grad()
    def extend(
        self, reading: Reading, ids: Int64[Tensor, "batch pos"], edits: Edits | None = None
    ) -> tuple[Reading, Float[Tensor, "batch d_model"]]:
        """Reads more tokens; returns what is read now and the last hidden states at the last token.

        edits: made at these tokens. Without kept memory they are made again at those that had edits before.
        """
        before = reading.lines.ids.shape[1]
        edited_from = reading.edited_from if reading.edited_from is not None or edits is None else before
        whole = torch.cat([reading.lines.ids, ids], 1)
        lines = Lines(whole, reading.lines.rows, reading.lines.first_positions)
        if reading.memory is None and (before or not self.reuses):
            first = edited_from or 0
            states = self._pass(lines, 0, edits(first) if edits else {}, self._unembedding.states)
            return Reading(lines, edited_from, None), states[:, -1]
        states, memory = self._go_on(lines, before, reading.memory, edits(0) if edits else {})
        return Reading(lines, edited_from, memory), states[:, -1]

    def _start(self, lines: Lines, count: int, *, keep: bool) -> Reading:
        head = Lines(lines.ids[:, :count], lines.rows, lines.first_positions)
        memory = self._go_on(head, 0, None, {})[1] if keep and count else None
        return Reading(head, None, memory)

    @torch.no_grad()
    def _go_on(self, lines: Lines, before: int, memory: Any, edits: Mapping[str, Edit]) -> tuple[Tensor, Any]:
        """Reads the tokens from `before` on; `memory` is of those before and is left as it is."""
        # A copy: models write into their memory, and others go on from the same tokens.
        known = {} if memory is None else {memory[0]: copy.deepcopy(memory[1])}
        output = self._pass(lines, before, edits, lambda ids: self._base(input_ids=ids, use_cache=True, **known))
        name = next((name for name in _MEMORIES if getattr(output, name, None) is not None), None)
        return output[0], None if name is None else (name, getattr(output, name))

    def _pass(self, lines: Lines, before: int, edits: Mapping[str, Edit], run: Callable[[Tensor], Any]) -> Any:
        self._occurrences.place(lines.rows, [first + before for first in lines.first_positions])
        with Splice(self._base, edits):
            return run(lines.ids[:, before:])

    def _goes_on_rightly(self, lines: Lines, count: int) -> bool:
        expected = self._pass(lines, 0, {}, self._unembedding.states)[:, -1].float()
        try:
            reading = self._start(lines, count, keep=True)
            if reading.memory is None:
                return False
            _, found = self.extend(reading, lines.ids[:, count:])
        except (ValueError, TypeError, RuntimeError, AttributeError, KeyError, IndexError):
            # A model whose memory cannot be copied, or that goes on in a way of its own.
            return False
        limit = _SAME.get(found.dtype, _SAME_HALF)
        return bool((found.float() - expected).norm() <= limit * expected.norm())


def _two_or_more(lines: Lines) -> Lines:
    """A single line shows no mixing up of lines: its tokens in falling order become a second one."""
    if len(lines.ids) > 1:
        return lines
    return Lines(torch.cat([lines.ids, lines.ids.flip(1)]), [*lines.rows] * 2, [*lines.first_positions] * 2)
