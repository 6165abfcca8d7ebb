"""A TopK coder's encoder, searched in bfloat16 where the processor multiplies it fast, and settled in float32."""

import threading

import numpy as np
import torch
from jaxtyping import BFloat16, Float, Int64, UInt16
from llvmlite.binding import get_host_cpu_features
from torch import Tensor

from sparse_coders.kernels.rounding import Rounded, rounded_rows
from sparse_coders.kernels.search import Encoder, Tokens, strongest

_TILE_BYTES = 12 * 2**20
"""Scores that exist at a time for each thread: they stay in the cache that cores share."""
_LEAST_ROWS, _MOST_ROWS = 64, 256
"""A lower tile reads all of W_enc too often; a higher one leaves threads without work at the end of a batch."""


def has_fast_bfloat16() -> bool:
    """Returns whether the processor multiplies bfloat16; others are 2 to 4 times as fast in float32."""
    features = get_host_cpu_features()
    return bool(features.get("avx512bf16") or features.get("amx-bf16"))


class RoundedEncoder:
    """W_enc with what the search needs beside it; the results do not depend on whether it is rounded, nor on tiles."""

    def __init__(self, W_enc: Float[Tensor, "d_sae d_model"], b_enc: Float[Tensor, " d_sae"], rounds: bool) -> None:
        """Reads the weights.

        Args:
            W_enc: Float32 on the CPU, contiguous.
            b_enc: Likewise.
            rounds: Search in bfloat16, see `has_fast_bfloat16`.
        """
        self._W_enc, self._b_enc, self._rounds = W_enc.detach(), b_enc.detach(), rounds
        self._rounded_W_enc = torch.empty(W_enc.shape, dtype=torch.bfloat16)
        self.rounded = _rounded(self._W_enc, self._rounded_W_enc)
        """Kept up to date by who changes the weights."""
        self._scratch = threading.local()
        rows = _TILE_BYTES // ((2 if rounds else 4) * len(W_enc)) // _LEAST_ROWS * _LEAST_ROWS
        self.tile_rows = min(_MOST_ROWS, max(_LEAST_ROWS, rows))
        """How many tokens to give to `strongest` at a time."""

    def strongest(
        self, x: Float[Tensor, "rows d_model"], acts: Float[Tensor, "rows k"], latents: Int64[Tensor, "rows k"]
    ) -> None:
        """Writes the k strongest latents of each token, the strongest first; safe in several threads at a time."""
        scores, rounded_x = self._buffers(len(x))
        tokens = _rounded(x, rounded_x)
        if self._rounds:
            torch.mm(rounded_x, self._rounded_W_enc.T, out=scores)
        else:
            torch.mm(x, self._W_enc.T, out=scores)
        encoder = Encoder(self._W_enc.numpy(), self._b_enc.numpy(), self.rounded.norms, self.rounded.lost)
        strongest(
            _bits(scores) if self._rounds else scores.numpy(),
            self._rounds,
            Tokens(x.numpy(), tokens.norms, tokens.lost),
            encoder,
            acts.numpy(),
            latents.numpy(),
        )

    def _buffers(self, rows: int) -> tuple[Tensor, Tensor]:
        """Returns this thread's memory for scores and rounded tokens, kept from tile to tile."""
        if getattr(self._scratch, "buffers", None) is None:
            d_sae, d_model = self._W_enc.shape
            scores = torch.empty(self.tile_rows, d_sae, dtype=torch.bfloat16 if self._rounds else torch.float32)
            self._scratch.buffers = scores, torch.empty(self.tile_rows, d_model, dtype=torch.bfloat16)
        scores, rounded_x = self._scratch.buffers
        return scores[:rows], rounded_x[:rows]


def _rounded(rows: Float[Tensor, "n width"], out: BFloat16[Tensor, "n width"]) -> Rounded:
    """Rounds rows into `out`."""
    rounded = Rounded(_bits(out), np.empty(len(rows), np.float32), np.empty(len(rows), np.float32))
    rounded_rows(rows.numpy(), *rounded)
    return rounded


def _bits(values: BFloat16[Tensor, "n width"]) -> UInt16[np.ndarray, "n width"]:
    return values.view(torch.uint16).numpy()
