"""Sparse entries, from the order of tokens to the order of latents."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, Int64

COLUMNS = ("row", "position", "activation", "token", "window_start")
"""Columns of an intermediate entry, int32 each; the activation is the bit pattern of a float32, and the window's start
is -1 where the position is in no window."""


@dataclass(frozen=True, slots=True, eq=False)
class TaskEntries:
    """Entries of the rows of one task, sorted by latent, then row, then position."""

    offsets: Int64[np.ndarray, " d_sae_plus_1"]
    """Latent `j` owns entries `offsets[j]:offsets[j + 1]`."""
    entries: Int32[np.ndarray, "n 5"]


def batch_entries(
    acts: Float32[np.ndarray, "n k"], latents: Int64[np.ndarray, "n k"], places: Int32[np.ndarray, "n 4"]
) -> tuple[Int32[np.ndarray, " m"], Int32[np.ndarray, "m 5"]]:
    """Returns latent and entry of each activation above 0; `places` are row, position, token and window start."""
    token, slot = np.nonzero(acts > 0)
    entries = np.empty((len(token), len(COLUMNS)), np.int32)
    entries[:, [0, 1, 3, 4]] = places[token]
    entries[:, 2] = np.ascontiguousarray(acts[token, slot], np.float32).view(np.int32)
    return latents[token, slot].astype(np.int32), entries


def sort_by_latent(latents: Int32[np.ndarray, " n"], entries: Int32[np.ndarray, "n 5"], d_sae: int) -> TaskEntries:
    """Sorts entries that are in the order of row and position by latent, keeping that order within each latent."""
    counts = np.bincount(latents, minlength=d_sae)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    # Two bytes are sorted by radix in numpy, several times faster than four.
    keys = latents.astype(np.uint16) if d_sae <= 1 << 16 else latents
    return TaskEntries(offsets, entries[np.argsort(keys, kind="stable")])


def merge(parts: Sequence[TaskEntries]) -> TaskEntries:
    """Merges entries of the same latents, of rising rows, by counting: linear in the number of entries."""
    counts = np.stack([np.diff(p.offsets) for p in parts])
    offsets = np.concatenate([[0], np.cumsum(counts.sum(0))]).astype(np.int64)
    merged = np.empty((int(offsets[-1]), len(COLUMNS)), np.int32)
    starts = offsets[:-1].copy()
    for part, count in zip(parts, counts, strict=True):
        shift = starts - (part.offsets[:-1] - part.offsets[0])
        merged[np.repeat(shift, count) + np.arange(len(part.entries))] = part.entries
        starts += count
    return TaskEntries(offsets, merged)


def latent_chunks(counts: Int64[np.ndarray, " latents"], max_entries: int, max_latents: int) -> list[tuple[int, int]]:
    """Cuts latents into runs of at most `max_latents`, with at most `max_entries` entries unless one has more."""
    ends = np.cumsum(counts)
    chunks: list[tuple[int, int]] = []
    first = 0
    while first < len(counts):
        before = int(ends[first - 1]) if first else 0
        end = max(first + 1, int(np.searchsorted(ends, before + max_entries, side="right")))
        chunks.append((first, min(end, first + max_latents)))
        first = chunks[-1][1]
    return chunks
