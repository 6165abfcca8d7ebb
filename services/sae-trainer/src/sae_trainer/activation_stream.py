"""Batches of shuffled activations through a buffer of bounded size."""

from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

import torch

from sae_trainer.core.token_order import TokenOrder, Window
from sae_trainer.window_filler import Filling, Reader, Rows, WindowFiller

_WAIT_SECONDS = 0.5


class Loading(NamedTuple):
    """A sign of life while the buffer fills."""

    token_count: int
    total: int


class ActivationStream:
    """Gives the tokens of a reader in the order of a `TokenOrder`. Use it as `with`.

    What fits into the buffer is read once, and training begins with the first window of it. Otherwise one half of the
    buffer is read while the other is trained on.
    """

    def __init__(self, reader: Reader, order: TokenOrder) -> None:
        self._order = order
        capacity = order.epoch_tokens if order.fits else 2 * order.window_tokens
        self._filler = WindowFiller(reader, capacity)
        self._asked: list[Filling] = []
        """What fits: all windows of the first epoch. Otherwise: the one in use, and the next."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._filler.close()

    def batches(self, position: int, size: int) -> Iterator[Loading | Rows]:
        """Yields batches of exactly `size` tokens from a position of the run on, without end."""
        window = self._order.window_at(position)
        while True:
            pieces: list[Rows] = []
            missing = size
            while missing:
                if position >= window.first + window.token_count:
                    window = self._order.window_at(position)
                filling = self._in_whole(window) if self._order.fits else self._in_halves(window)
                while not filling.wait(_WAIT_SECONDS):
                    yield Loading(filling.filled, filling.token_count)
                base = 0 if window.epoch and self._order.fits else filling.base
                at = position - window.first
                places = window.permutation[at : at + missing]
                pieces.append(self._filler.rows(torch.from_numpy(places + base)))
                position += len(places)
                missing -= len(places)
            yield pieces[0] if len(pieces) == 1 else _joined(pieces)

    def _in_whole(self, window: Window) -> Filling:
        """Asks for everything once; a later epoch needs the last of it."""
        if not self._asked:
            base = 0
            for asked in self._order.windows(0):
                self._asked.append(self._filler.ask(asked.pieces, base))
                base += asked.token_count
        return self._asked[-1 if window.epoch else window.index]

    def _in_halves(self, window: Window) -> Filling:
        """Asks for a window, and for the one after it as soon as the other half is free."""
        if self._asked and self._asked[0].pieces == window.pieces:
            return self._asked[0]
        following = self._order.window_at(window.first + window.token_count)
        if self._asked and self._asked[1].pieces == window.pieces:
            current = self._asked[1]
        else:
            current = self._filler.ask(window.pieces, 0)
        other = self._order.window_tokens - current.base
        self._asked = [current, self._filler.ask(following.pieces, other)]
        return current


def _joined(pieces: list[Rows]) -> Rows:
    return {hookpoint: torch.cat([piece[hookpoint] for piece in pieces]) for hookpoint in pieces[0]}
