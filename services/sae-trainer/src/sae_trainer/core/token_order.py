"""The order in which a run sees its tokens: a function of the sizes of the shards, the buffer and a seed.

An epoch is cut into windows that fit the shuffle buffer. A window holds pieces of shards taken in random order, and its
tokens are shuffled in full. When everything fits there is one window and so one full shuffle for each epoch. Because
any position can be computed, a run resumes from a single number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from dragoman.ids import derived_seed
from jaxtyping import Int64
from numpy.random import PCG64, Generator

_PIECES_PER_WINDOW = 8
"""A shard larger than this share of the buffer is cut, so that each window mixes several places."""


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
    def window_tokens(self) -> int:
        """Tokens that the largest window may hold."""
        return min(self.capacity, self.epoch_tokens)

    def window_at(self, position: int) -> Window:
        """Returns the window that holds the position-th token of the run."""
        epoch, offset = divmod(position, self.epoch_tokens)
        for window in _windows(self, epoch):
            if offset < window.first - epoch * self.epoch_tokens + window.token_count:
                return window
        raise AssertionError("the windows of an epoch hold all its tokens")


@lru_cache(maxsize=2)
def _windows(order: TokenOrder, epoch: int) -> Sequence[Window]:
    pieces = _pieces(order.shard_sizes, max(1, order.capacity // _PIECES_PER_WINDOW))
    if order.epoch_tokens > order.capacity:
        shuffled = _generator(order.seed, "pieces", epoch).permutation(len(pieces))
        pieces = [pieces[i] for i in shuffled]
    else:
        pieces = _pieces(order.shard_sizes, order.capacity)  # one window, whole shards, read once for all epochs
    windows: list[Window] = []
    first = epoch * order.epoch_tokens
    for held in _packed(pieces, order.capacity):
        window = Window(epoch, len(windows), first, tuple(held), order.seed)
        windows.append(window)
        first += window.token_count
    return windows


def _pieces(shard_sizes: Sequence[int], limit: int) -> list[Piece]:
    return [
        Piece(shard, start, min(start + limit, size))
        for shard, size in enumerate(shard_sizes)
        for start in range(0, size, limit)
    ]


def _packed(pieces: Sequence[Piece], capacity: int) -> list[list[Piece]]:
    """Fills windows in the given order, each as far as the next piece still fits."""
    windows: list[list[Piece]] = [[]]
    room = capacity
    for piece in pieces:
        if piece.token_count > room:
            windows.append([])
            room = capacity
        windows[-1].append(piece)
        room -= piece.token_count
    return windows


def _generator(seed: int, *name: object) -> Generator:
    return Generator(PCG64(derived_seed(seed, *name)))
