"""The strongest windows of each latent, from entries that know the window they are in."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, Int64

from activation.core.entries import TaskEntries

RARE_WINDOWS = 20
"""A latent with fewer activating windows than this in either split is rare, as for the explainer by default."""


@dataclass(frozen=True, slots=True, eq=False)
class TopWindows:
    """Windows by latent and rank, the strongest first; equal ones by row and start."""

    latents: Int64[np.ndarray, " n"]
    ranks: Int32[np.ndarray, " n"]
    rows: Int32[np.ndarray, " n"]
    starts: Int32[np.ndarray, " n"]
    peaks: Float32[np.ndarray, " n"]
    activations: Float32[np.ndarray, "n length"]

    def __len__(self) -> int:
        return len(self.latents)


@dataclass(frozen=True, slots=True, eq=False)
class _Groups:
    """Activating windows: runs of entries of one latent in one window."""

    latents: Int64[np.ndarray, " windows"]
    firsts: Int64[np.ndarray, " windows"]
    counts: Int64[np.ndarray, " windows"]
    peaks: Float32[np.ndarray, " windows"]


def top_windows(
    merged: TaskEntries, window_count: int, length: int, train_row_count: int
) -> tuple[TopWindows, Int64[np.ndarray, "latents 2"]]:
    """Returns the `window_count` strongest windows of each latent, and how many it fires in: train, test."""
    latents = np.repeat(np.arange(len(merged.offsets) - 1), np.diff(merged.offsets))
    inside = merged.entries[:, 4] >= 0
    latents, entries = latents[inside], merged.entries[inside]
    groups = _group(latents, entries)
    of_test = (entries[groups.firsts, 0] >= train_row_count).astype(np.int64)
    counts = np.bincount(groups.latents * 2 + of_test, minlength=2 * (len(merged.offsets) - 1)).reshape(-1, 2)
    chosen, ranks = _strongest(groups, window_count)
    top = TopWindows(
        groups.latents[chosen],
        ranks,
        entries[groups.firsts[chosen], 0],
        entries[groups.firsts[chosen], 4],
        groups.peaks[chosen],
        _dense(entries, groups.firsts[chosen], groups.counts[chosen], length),
    )
    return top, counts.astype(np.int64)


def _group(latents: Int64[np.ndarray, " n"], entries: Int32[np.ndarray, "n 5"]) -> _Groups:
    changes = np.ones(len(latents), np.bool_)
    changes[1:] = (np.diff(latents) != 0) | (np.diff(entries[:, 0]) != 0) | (np.diff(entries[:, 4]) != 0)
    firsts = np.flatnonzero(changes)
    acts = np.ascontiguousarray(entries[:, 2]).view(np.float32)
    peaks = np.maximum.reduceat(acts, firsts) if len(firsts) else acts
    return _Groups(latents[firsts], firsts, np.diff(firsts, append=len(latents)), peaks)


def _strongest(groups: _Groups, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the places of the strongest groups of each latent, and their ranks from 0."""
    # lexsort is stable, so equal peaks stay in the order of row and start.
    order = np.lexsort((-groups.peaks, groups.latents))
    latents = groups.latents[order]
    begins = np.flatnonzero(np.diff(latents, prepend=-1))
    ranks = np.arange(len(order)) - np.repeat(begins, np.diff(begins, append=len(order)))
    kept = ranks < count
    return order[kept], ranks[kept].astype(np.int32)


def _dense(
    entries: Int32[np.ndarray, "n 5"], firsts: Int64[np.ndarray, " m"], counts: Int64[np.ndarray, " m"], length: int
) -> Float32[np.ndarray, "m length"]:
    dense = np.zeros((len(firsts), length), np.float32)
    which = np.repeat(np.arange(len(firsts)), counts)
    source = np.repeat(firsts, counts) + np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    found = entries[source]
    dense[which, found[:, 1] - found[:, 4]] = np.ascontiguousarray(found[:, 2]).view(np.float32)
    return dense
