"""Cuts what was encoded in one pass into the pieces of single latents."""

from itertools import pairwise

import numpy as np
from jaxtyping import Integer


def cut(data: bytes, bounds: Integer[np.ndarray, " pieces_plus_1"]) -> list[bytes]:
    """Returns piece `i` from `bounds[i]` to before `bounds[i + 1]`, all in bytes."""
    return [data[first:end] for first, end in pairwise(bounds.tolist())]


def cut_rows(rows: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> list[bytes]:
    """Returns the bytes of each index of the first axis."""
    size = rows.nbytes // max(1, len(rows))
    return cut(rows.tobytes(), np.arange(len(rows) + 1) * size)
