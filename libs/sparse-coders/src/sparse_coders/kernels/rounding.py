"""Rows rounded to bfloat16, with what a bound on the error of their products needs."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt16

from sparse_coders.kernels.compiled import Real, bfloat16_of, compiled, inlined, score_of


class Rounded(NamedTuple):
    """Rows in bfloat16."""

    bits: UInt16[np.ndarray, "n width"]
    norms: Float32[np.ndarray, " n"]
    """Of the rows before."""
    lost: Float32[np.ndarray, " n"]
    """Norms of what rounding took from them."""


@inlined
def rounding_norms(row: Float32[np.ndarray, " width"]) -> tuple[Real, Real]:
    """Returns the norms of the row and of what rounding to bfloat16 would take from it."""
    square, lost_square = np.float32(0), np.float32(0)
    for i in range(len(row)):
        lost = row[i] - score_of(bfloat16_of(row[i]))
        square += row[i] * row[i]
        lost_square += lost * lost
    return math.sqrt(square), math.sqrt(lost_square)


@inlined
def rounded_row(row: Float32[np.ndarray, " width"], out: UInt16[np.ndarray, " width"]) -> tuple[Real, Real]:
    """Writes the bits of the row in bfloat16; returns `rounding_norms`."""
    for i in range(len(row)):
        out[i] = bfloat16_of(row[i])
    return rounding_norms(row)


@compiled
def norms_of_rows(
    rows: Float32[np.ndarray, "n width"], norms: Float32[np.ndarray, " n"], lost: Float32[np.ndarray, " n"]
) -> None:
    """`rounding_norms` for each row."""
    for i in range(len(rows)):
        norms[i], lost[i] = rounding_norms(rows[i])


@compiled
def rounded_rows(
    rows: Float32[np.ndarray, "n width"],
    out: UInt16[np.ndarray, "n width"],
    norms: Float32[np.ndarray, " n"],
    lost: Float32[np.ndarray, " n"],
) -> None:
    """`rounded_row` for each row."""
    for i in range(len(rows)):
        norms[i], lost[i] = rounded_row(rows[i], out[i])
