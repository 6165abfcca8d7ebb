"""A buffer of activations that a thread fills while training reads what is there. Imports torch."""

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sae_trainer.core.token_order import Piece

Rows = Mapping[str, Float[Tensor, "n d"]]
"""Activations of the same tokens by hookpoint, in their stored type."""


class Reader(Protocol):
    """Where activations come from: shards, or a model."""

    def chunks(self, piece: Piece) -> Iterator[Rows]:
        """Yields neighbouring tokens of a piece, in order; all are finite."""
        ...


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

    def __init__(self, reader: Reader, capacity: int) -> None:
        """`capacity`: tokens that the buffer holds."""
        self._reader, self._capacity = reader, capacity
        self._buffers: dict[str, Tensor] = {}
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

    def rows(self, places: Int64[Tensor, " n"]) -> Rows:
        """Returns a copy of what is at these places; their fillings must be done."""
        return {hookpoint: buffer.index_select(0, places) for hookpoint, buffer in self._buffers.items()}

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
            for chunk in self._reader.chunks(piece):
                if self._closed.is_set():
                    return
                for hookpoint, rows in chunk.items():
                    if hookpoint not in self._buffers:
                        self._buffers[hookpoint] = torch.empty(self._capacity, rows.shape[1], dtype=rows.dtype)
                    at = filling.base + filling.filled
                    self._buffers[hookpoint][at : at + len(rows)] = rows
                filling.filled += len(next(iter(chunk.values())))
