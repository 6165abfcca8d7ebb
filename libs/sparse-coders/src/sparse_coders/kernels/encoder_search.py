"""The k strongest latents of a batch in an encoder that changes from step to step, a part of it at a time.

All tokens meet one part of the dictionary before the next: what is rounded to bfloat16 is a part, and what exists of
the scores is a tile of tokens by a part. `RoundedEncoder` keeps all of W_enc rounded, for weights that stay.
"""

import threading
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import BFloat16, Float, Int64
from torch import Tensor

from sparse_coders.kernels.rounded_encoder import as_bits, rounded
from sparse_coders.kernels.rounding import norms_of_rows
from sparse_coders.kernels.search import Encoder, Largest, Tokens, largest_of, strongest
from sparse_coders.kernels.shortlist import Shortlists, search_part, settle_lists
from sparse_coders.kernels.workers import Workers

_PART_BYTES = 6 * 2**20
"""Of W_enc in bfloat16, which stays in the cache that cores share while all tokens are multiplied by it."""
_PART_MULTIPLE = 64
_LISTED, _LEAST_LISTED = 4, 128
"""A token's list has room for so many times k. In the end 1.4 k come into question; until all parts are known, more."""
_TILE_ROWS = 256
_FLOAT32_ROWS = 64
"""Tokens that are multiplied by all of W_enc at a time, where a list was too short."""


class _Batch(NamedTuple):
    """A batch while it is searched."""

    tokens: Tokens
    rounded: BFloat16[Tensor, "n d_model"]
    lists: Shortlists
    largest: Largest


class EncoderSearch:
    """Searches in bfloat16 and settles in float32; the results do not depend on whether it rounds, parts or threads."""

    def __init__(
        self, W_enc: Float[Tensor, "d_sae d_model"], b_enc: Float[Tensor, " d_sae"], k: int, rounds: bool
    ) -> None:
        """Reads the weights.

        Args:
            W_enc: Float32 on the CPU, contiguous. Who changes it keeps `encoder.norms` and `encoder.lost` up to date.
            b_enc: Likewise.
            k: Latents for each token.
            rounds: Search in bfloat16, see `has_fast_bfloat16`.
        """
        self._W_enc, self._k, self._rounds = W_enc.detach(), k, rounds
        d_sae, d_model = W_enc.shape
        norms, lost = np.empty(d_sae, np.float32), np.empty(d_sae, np.float32)
        norms_of_rows(self._W_enc.numpy(), norms, lost)
        self.encoder = Encoder(self._W_enc.numpy(), b_enc.detach().numpy(), norms, lost)
        """What the search reads."""
        parts = -(-d_sae // max(_PART_MULTIPLE, _PART_BYTES // (2 * d_model)))
        self._part = -(-d_sae // (parts * _PART_MULTIPLE)) * _PART_MULTIPLE
        self._rounded_part = torch.empty(min(self._part, d_sae) if rounds else 0, d_model, dtype=torch.bfloat16)
        self._batch: _Batch | None = None
        self._scratch = threading.local()

    def strongest(
        self,
        workers: Workers,
        x: Float[Tensor, "n d_model"],
        acts: Float[Tensor, "n k"],
        latents: Int64[Tensor, "n k"],
    ) -> None:
        """Writes the k strongest latents of each token, the strongest first."""
        batch, count = self._batch_of(x), -(-len(x) // _TILE_ROWS)
        workers.each(partial(self._round, batch), count)
        for first in range(0, len(self._W_enc), self._part):
            workers.each(partial(self._search, batch, first, self._part_from(first, workers)), count)
        workers.each(partial(self._settle, batch, acts, latents), count)

    def _round(self, batch: _Batch, tile: int) -> None:
        """Rounds one tile of tokens."""
        rows, tokens = _rows(tile), batch.tokens
        _, tokens.norms[rows], tokens.lost[rows] = rounded(torch.as_tensor(tokens.x[rows]), batch.rounded[rows])

    def _part_from(self, first: int, workers: Workers) -> Float[Tensor, "part d_model"]:
        """Returns the rows of W_enc that begin there, rounded where scores are."""
        exact = self._W_enc[first : first + self._part]
        if not self._rounds:
            return exact
        part, size = self._rounded_part[: len(exact)], -(-len(exact) // workers.count)

        def round_piece(piece: int) -> None:
            rows = slice(piece * size, (piece + 1) * size)
            part[rows].copy_(exact[rows])

        workers.each(round_piece, workers.count)
        return part

    def _search(self, batch: _Batch, first: int, part: Float[Tensor, "part d_model"], tile: int) -> None:
        """Adds to the lists of one tile of tokens what a part of the dictionary has."""
        tokens, lists = _tile_of(batch, tile)
        scores = self._scores(len(tokens.x), len(part))
        x = batch.rounded[_rows(tile)] if self._rounds else torch.as_tensor(tokens.x)
        torch.mm(x, part.T, out=scores)
        bits = as_bits(scores) if self._rounds else scores.numpy()
        search_part(bits, self._rounds, tokens, self.encoder, batch.largest, lists, first, self._k)

    def _settle(self, batch: _Batch, acts: Float[Tensor, "n k"], latents: Int64[Tensor, "n k"], tile: int) -> None:
        """Writes what one tile of tokens comes to; where a list was too short, by the scores of all latents."""
        (tokens, lists), acts, latents = _tile_of(batch, tile), acts[_rows(tile)], latents[_rows(tile)]
        whole = self.encoder, batch.largest
        if not settle_lists(self._rounds, tokens, *whole, lists, acts.numpy(), latents.numpy()):
            return
        for rows in torch.as_tensor(lists.counts < 0).nonzero().flatten().split(_FLOAT32_ROWS):
            own = Tokens(*(values[rows.numpy()] for values in tokens))
            own_acts, own_latents = acts[rows], latents[rows]
            scores = torch.mm(torch.as_tensor(own.x), self._W_enc.T)
            strongest(scores.numpy(), False, own, *whole, own_acts.numpy(), own_latents.numpy())
            acts[rows], latents[rows] = own_acts, own_latents

    def _scores(self, rows: int, width: int) -> Float[Tensor, "rows width"]:
        """Returns this thread's memory for scores, kept from tile to tile."""
        if getattr(self._scratch, "scores", None) is None:
            dtype = torch.bfloat16 if self._rounds else torch.float32
            self._scratch.scores = torch.empty(_TILE_ROWS * self._part, dtype=dtype)
        return self._scratch.scores[: rows * width].view(rows, width)

    def _batch_of(self, x: Float[Tensor, "n d_model"]) -> _Batch:
        """Returns a batch, in the last one's memory where it fits."""
        n, largest = len(x), largest_of(self.encoder)
        if self._batch is None or len(self._batch.rounded) != n:
            room = min(len(self._W_enc), max(_LISTED * self._k, _LEAST_LISTED))
            tokens = Tokens(x.numpy(), np.empty(n, np.float32), np.empty(n, np.float32))
            each = np.empty(n, np.int32), np.empty(n, np.float32)
            lists = Shortlists(*each, np.empty((n, room), np.float32), np.empty((n, room), np.int32))
            self._batch = _Batch(tokens, torch.empty(x.shape, dtype=torch.bfloat16), lists, largest)
        return self._batch._replace(tokens=self._batch.tokens._replace(x=x.numpy()), largest=largest)


def _rows(tile: int) -> slice:
    return slice(tile * _TILE_ROWS, (tile + 1) * _TILE_ROWS)


def _tile_of(batch: _Batch, tile: int) -> tuple[Tokens, Shortlists]:
    rows = _rows(tile)
    return Tokens(*(values[rows] for values in batch.tokens)), Shortlists(*(values[rows] for values in batch.lists))
