"""The order in which a run sees its tokens: a function of the sizes of the shards, the buffer and a seed.

An epoch is cut into windows, which hold pieces of shards taken in random order, and the tokens of a window are shuffled
in full. When everything fits into the buffer, it stays there, and an epoch is one window and so one full shuffle. When
not, a window fits into half the buffer, so that the next one is read into the other half. In the first epoch windows
begin small and double, so that training begins soon. Because any position can be computed, a run resumes from a single
number.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from dragoman.ids import derived_seed
from jaxtyping import Int64
from numpy.random import PCG64, Generator

PIECES_PER_WINDOW = 8
"""A shard larger than this share of a window is cut, so that each window mixes several places."""
FIRST_WINDOW_TOKENS = 2**17


class Piece(NamedTuple):
    """Tokens start:stop of a shard."""

    shard: int
    start: int
    stop: int

    @property
    def token_count(self) -> int:
        """Number of tokens."""
        return self.stop - self.start


@dataclass(frozen=True)
class Window:
    """Tokens that lie in the buffer together."""

    epoch: int
    index: int
    first: int
    """Position in the run of the first token of the window."""
    pieces: tuple[Piece, ...]
    seed: int

    @property
    def token_count(self) -> int:
        """Number of tokens."""
        return sum(piece.token_count for piece in self.pieces)

    @cached_property
    def permutation(self) -> Int64[np.ndarray, " n"]:
        """Place in the buffer of the first, second, ... token to train on."""
        return _generator(self.seed, "tokens", self.epoch, self.index).permutation(self.token_count)


@dataclass(frozen=True)
class TokenOrder:
    """Endless epochs over shards of given sizes."""

    shard_sizes: tuple[int, ...]
    capacity: int
    """Tokens that the buffer holds."""
    seed: int

    @property
    def epoch_tokens(self) -> int:
        """Tokens in one pass."""
        return sum(self.shard_sizes)

    @property
    def fits(self) -> bool:
        """True when the buffer holds all tokens at once."""
        return self.epoch_tokens <= self.capacity

    @property
    def window_tokens(self) -> int:
        """Tokens that the largest window may hold."""
        return self.epoch_tokens if self.fits else max(1, self.capacity // 2)

    def window_at(self, position: int) -> Window:
        """Returns the window that holds the position-th token of the run."""
        epoch, offset = divmod(position, self.epoch_tokens)
        for window in _windows(self, epoch):
            if offset < window.first - epoch * self.epoch_tokens + window.token_count:
                return window
        raise AssertionError("the windows of an epoch hold all its tokens")

    def windows(self, epoch: int) -> Sequence[Window]:
        """Returns the windows of an epoch in order."""
        return _windows(self, epoch)


@lru_cache(maxsize=2)
def _windows(order: TokenOrder, epoch: int) -> Sequence[Window]:
    if order.fits and epoch:  # what the first epoch read, as it lies in the buffer
        pieces = tuple(piece for window in order.windows(0) for piece in window.pieces)
        return [Window(epoch, 0, epoch * order.epoch_tokens, pieces, order.seed)]
    sizes = _sizes(order.window_tokens, ramp=not epoch)
    limit = order.window_tokens if order.fits else max(1, order.window_tokens // PIECES_PER_WINDOW)
    pieces = _pieces(order.shard_sizes, min(limit, FIRST_WINDOW_TOKENS))
    shuffled = _generator(order.seed, "pieces", epoch).permutation(len(pieces))
    windows: list[Window] = []
    first = epoch * order.epoch_tokens
    for held in _packed([pieces[i] for i in shuffled], sizes):
        window = Window(epoch, len(windows), first, tuple(held), order.seed)
        windows.append(window)
        first += window.token_count
    return windows


def _sizes(largest: int, *, ramp: bool) -> Iterator[int]:
    """Yields what each window may hold, without end."""
    size = min(largest, FIRST_WINDOW_TOKENS) if ramp else largest
    while True:
        yield size
        size = min(largest, 2 * size)


def _pieces(shard_sizes: Sequence[int], limit: int) -> list[Piece]:
    return [
        Piece(shard, start, min(start + limit, size))
        for shard, size in enumerate(shard_sizes)
        for start in range(0, size, limit)
    ]


def _packed(pieces: Sequence[Piece], sizes: Iterator[int]) -> list[list[Piece]]:
    """Fills windows in the given order, each as far as the next piece still fits."""
    windows: list[list[Piece]] = [[]]
    room = next(sizes)
    for piece in pieces:
        if piece.token_count > room and windows[-1]:
            windows.append([])
            room = next(sizes)
        windows[-1].append(piece)
        room -= piece.token_count
    return windows


def _generator(seed: int, *name: object) -> Generator:
    return Generator(PCG64(derived_seed(seed, *name)))
