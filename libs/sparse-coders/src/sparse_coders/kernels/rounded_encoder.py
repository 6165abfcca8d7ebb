"""A TopK coder's encoder, searched in bfloat16 where the processor multiplies it fast, and settled in float32."""

import threading

import numpy as np
import torch
from jaxtyping import BFloat16, Float, Int64, UInt16
from llvmlite.binding import get_host_cpu_features
from torch import Tensor

from sparse_coders.kernels.rounding import Rounded, rounded_rows
from sparse_coders.kernels.search import Encoder, Tokens, largest_of, strongest

_TILE_BYTES = 12 * 2**20
"""Scores that exist at a time for each thread: they stay in the cache that cores share."""
_LEAST_ROWS, _MOST_ROWS = 64, 256
"""A lower tile reads all of W_enc too often; a higher one leaves threads without work at the end of a batch."""


def tile_rows_of(d_sae: int, rounds: bool) -> int:
    """Returns how many tokens are encoded at a time."""
    rows = _TILE_BYTES // ((2 if rounds else 4) * d_sae) // _LEAST_ROWS * _LEAST_ROWS
    return min(_MOST_ROWS, max(_LEAST_ROWS, rows))


def has_fast_bfloat16() -> bool:
    """Returns whether the processor multiplies bfloat16; others are 2 to 4 times as fast in float32."""
    features = get_host_cpu_features()
    return bool(features.get("avx512bf16") or features.get("amx-bf16"))


class RoundedEncoder:
    """An encoder that stays as it is, with all of it in bfloat16; the results do not depend on tiles."""

    def __init__(self, W_enc: Float[Tensor, "d_sae d_model"], b_enc: Float[Tensor, " d_sae"]) -> None:
        """Reads the weights, which no one may change from now on.

        Args:
            W_enc: Float32 on the CPU, contiguous.
            b_enc: Likewise.
        """
        self._rounded_W_enc = torch.empty(W_enc.shape, dtype=torch.bfloat16)
        _, norms, lost = rounded(W_enc.detach(), self._rounded_W_enc)
        self._encoder = Encoder(W_enc.detach().numpy(), b_enc.detach().numpy(), norms, lost)
        self._largest = largest_of(self._encoder)
        self._scratch = threading.local()
        self.tile_rows = tile_rows_of(len(W_enc), rounds=True)
        """How many tokens to give to `strongest` at a time."""

    def strongest(
        self, x: Float[Tensor, "rows d_model"], acts: Float[Tensor, "rows k"], latents: Int64[Tensor, "rows k"]
    ) -> None:
        """Writes the k strongest latents of each token, the strongest first; safe in several threads at a time."""
        scores, rounded_x = self._buffers(len(x))
        _, norms, lost = rounded(x, rounded_x)
        torch.mm(rounded_x, self._rounded_W_enc.T, out=scores)
        tokens = Tokens(x.numpy(), norms, lost)
        strongest(as_bits(scores), True, tokens, self._encoder, self._largest, acts.numpy(), latents.numpy())

    def _buffers(self, rows: int) -> tuple[Tensor, Tensor]:
        """Returns this thread's memory for scores and rounded tokens, kept from tile to tile."""
        if getattr(self._scratch, "buffers", None) is None:
            shapes = [(self.tile_rows, width) for width in self._rounded_W_enc.shape]
            self._scratch.buffers = [torch.empty(shape, dtype=torch.bfloat16) for shape in shapes]
        scores, rounded_x = self._scratch.buffers
        return scores[:rows], rounded_x[:rows]


def rounded(rows: Float[Tensor, "n width"], out: BFloat16[Tensor, "n width"]) -> Rounded:
    """Rounds rows into `out`."""
    found = Rounded(as_bits(out), np.empty(len(rows), np.float32), np.empty(len(rows), np.float32))
    rounded_rows(rows.numpy(), *found)
    return found


def as_bits(values: BFloat16[Tensor, "n width"]) -> UInt16[np.ndarray, "n width"]:
    """Returns what compiled code takes for bfloat16, which NumPy does not know."""
    return values.view(torch.uint16).numpy()
