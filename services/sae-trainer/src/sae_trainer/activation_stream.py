"""Batches of shuffled activations through a buffer of bounded size."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from dragoman.artifacts import Artifact
from jaxtyping import Float
from torch import Tensor

from sae_trainer.core.token_order import TokenOrder, Window
from sae_trainer.shards import read_tokens
from sae_trainer.source import Source


class Loading(NamedTuple):
    """A sign of life while the buffer fills."""

    token_count: int
    total: int


class ActivationStream:
    """Reads the tokens of a source in the order of a `TokenOrder`, shard by shard."""

    def __init__(self, artifact: Artifact, source: Source, order: TokenOrder) -> None:
        self._artifact, self._source, self._order = artifact, source, order
        self._buffer: Tensor | None = None
        self._held: Window | None = None

    def batches(self, position: int, size: int) -> Iterator[Loading | Float[Tensor, "size d_model"]]:
        """Yields batches of exactly `size` tokens in their stored type, from a position of the run on, without end."""
        while True:
            pieces: list[Tensor] = []
            missing = size
            while missing:
                window = self._order.window_at(position)
                yield from self._hold(window)
                at = position - window.first
                chosen = window.permutation[at : at + missing]
                pieces.append(self._rows(torch.from_numpy(chosen)))
                position += len(chosen)
                missing -= len(chosen)
            yield pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _rows(self, places: Tensor) -> Tensor:
        assert self._buffer is not None
        return self._buffer.index_select(0, places)

    def _hold(self, window: Window) -> Iterator[Loading]:
        """Makes the buffer hold a window; does nothing when the same tokens are there already."""
        if self._held is not None and self._held.pieces == window.pieces:
            self._held = window
            return
        filled = 0
        for piece in window.pieces:
            part = self._source.shards[piece.shard]
            tokens = read_tokens(self._artifact, part, piece.start, piece.stop, self._source.d_model)
            self._room(tokens.activations.dtype)[filled : filled + piece.token_count] = tokens.activations
            filled += piece.token_count
            yield Loading(filled, window.token_count)
        self._held = window

    def _room(self, dtype: torch.dtype) -> Tensor:
        if self._buffer is None:
            self._buffer = torch.empty(self._order.window_tokens, self._source.d_model, dtype=dtype)
        return self._buffer
