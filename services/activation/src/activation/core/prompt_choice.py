"""Where prompts are cut from token rows."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, Int64
from latent_cache.quantiles import balanced_order, quantile_of

_QUINTILES = 5


@dataclass(frozen=True, slots=True, eq=False)
class FirstFirings:
    """Blocks of token rows in which a latent fires, in the order of row and position."""

    rows: Int32[np.ndarray, " n"]
    starts: Int32[np.ndarray, " n"]
    """Position of the block's first token."""
    ends: Int32[np.ndarray, " n"]
    """Position of the first token in the block at which the latent fires."""
    activations: Float32[np.ndarray, " n"]
    """There."""
    peaks: Float32[np.ndarray, " n"]
    """The strongest activation in the block."""

    def __len__(self) -> int:
        return len(self.rows)


def first_firings(
    rows: Int32[np.ndarray, " n"],
    positions: Int32[np.ndarray, " n"],
    activations: Float32[np.ndarray, " n"],
    first_position: int,
    length: int,
) -> FirstFirings:
    """Returns where a latent fires first in each block of `length` tokens; rows are cut from `first_position` on.

    rows, positions: in rising order.
    """
    blocks = (positions - first_position) // length
    begins = np.flatnonzero((np.diff(rows, prepend=-1) != 0) | (np.diff(blocks, prepend=-1) != 0))
    peaks = np.maximum.reduceat(activations, begins) if len(begins) else activations[:0]
    starts = (blocks[begins] * length + first_position).astype(np.int32)
    return FirstFirings(rows[begins], starts, positions[begins], activations[begins], peaks)


def choose(firsts: FirstFirings, count: int, seed: int) -> Int64[np.ndarray, " m"]:
    """Returns at most `count` blocks, drawn evenly from the quintiles of their peaks, in the order of place."""
    quintiles = quantile_of(firsts.peaks, _QUINTILES)
    return np.sort(balanced_order(quintiles, seed)[:count])


def longest_run(documents: Int32[np.ndarray, " n"]) -> tuple[int, int]:
    """Returns first and end of the longest run of one document (-1 is none), the first of equal ones; 0, 0 if none."""
    changes = np.flatnonzero(np.diff(documents, prepend=documents[:1] - 1, append=documents[-1:] - 1))
    best = (0, 0)
    for first, end in zip(changes[:-1].tolist(), changes[1:].tolist(), strict=True):
        if documents[first] >= 0 and end - first > best[1] - best[0]:
            best = (first, end)
    return best
