"""A buffer of activations that a thread fills from shards while training reads what is there. Imports torch."""

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sae_trainer.core.token_order import Piece
from sae_trainer.shards import PairReader


class Batch(NamedTuple):
    """Tokens to train on, in their stored type."""

    x: Float[Tensor, "n d_model"]
    y: Float[Tensor, "n d_out"]
    """What the coder should give; of an autoencoder x itself."""


@dataclass(eq=False)
class Filling:
    """Pieces that were asked for, and how far they are."""

    pieces: Sequence[Piece]
    base: int
    """Place in the buffer of their first token."""
    filled: int = 0
    """Tokens that are there."""
    error: BaseException | None = None
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def token_count(self) -> int:
        """Tokens asked for."""
        return sum(piece.token_count for piece in self.pieces)

    def wait(self, seconds: float) -> bool:
        """Returns whether everything is there within a time. Raises what went wrong with reading it."""
        done = self.done.wait(seconds)
        if self.error is not None:
            raise self.error
        return done


class WindowFiller:
    """The buffer and its thread. Requests are worked off in order; `close` ends the thread."""

    def __init__(self, reader: PairReader, capacity: int) -> None:
        """`capacity`: tokens that the buffer holds."""
        self._reader, self._capacity = reader, capacity
        self._x: Tensor | None = None
        self._y: Tensor | None = None
        self._requests: queue.SimpleQueue[Filling | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="read-ahead", daemon=True)

    def ask(self, pieces: Sequence[Piece], base: int) -> Filling:
        """Asks for pieces one after the other from a place of the buffer on; returns at once."""
        if not self._thread.is_alive():
            self._thread.start()
        filling = Filling(pieces, base)
        self._requests.put(filling)
        return filling

    def rows(self, places: Int64[Tensor, " n"]) -> Batch:
        """Returns a copy of what is at these places; their fillings must be done."""
        assert self._x is not None, "nothing was asked for"
        x = self._x.index_select(0, places)
        return Batch(x, x if self._y is None else self._y.index_select(0, places))

    def close(self) -> None:
        """Ends the thread, in the middle of a request too."""
        self._closed.set()
        self._requests.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        while (filling := self._requests.get()) is not None:
            try:
                self._fill(filling)
            except BaseException as error:  # noqa: BLE001  raised where it is waited for
                filling.error = error
            filling.done.set()

    def _fill(self, filling: Filling) -> None:
        for piece in filling.pieces:
            for x, y in self._reader.chunks(piece):
                if self._closed.is_set():
                    return
                at = slice(filling.base + filling.filled, filling.base + filling.filled + len(x))
                self._x = self._filled(self._x, x, at)
                if y is not None:
                    self._y = self._filled(self._y, y, at)
                filling.filled += len(x)

    def _filled(self, buffer: Tensor | None, rows: Tensor, at: slice) -> Tensor:
        if buffer is None:
            buffer = torch.empty(self._capacity, rows.shape[1], dtype=rows.dtype)
        buffer[at] = rows
        return buffer
