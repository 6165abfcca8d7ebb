"""The pools of windows from which silent ones are taken: a uniform sample of all windows of each split."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, Int64, UInt64
from latent_cache.windows import Runs

from activation.core.fired_windows import FiredWindows, smallest
from activation.core.place_hash import place_hashes


@dataclass(frozen=True, slots=True, eq=False)
class PoolPlaces:
    """Windows by rising place."""

    places: Int64[np.ndarray, " n"]
    """row * ctx_len + position of the first token."""
    documents: Int64[np.ndarray, " n"]


class SilentDraw:
    """Draws `count` windows of each split, whatever the order and the size of what is added."""

    def __init__(self, count: int, seed: int, ctx_len: int, window_length: int, train_row_count: int) -> None:
        self._count, self._seed, self._ctx_len, self._length = count, seed, ctx_len, window_length
        self._train_places = train_row_count * ctx_len
        self._places: Int64[np.ndarray, " n"] = np.empty(0, np.int64)
        self._documents: Int64[np.ndarray, " n"] = np.empty(0, np.int64)
        self._hashes: UInt64[np.ndarray, " n"] = np.empty(0, np.uint64)

    def add(self, runs: Runs) -> None:
        """Adds the windows of further runs of documents."""
        within = np.arange(runs.window_counts.sum()) - np.repeat(
            np.cumsum(runs.window_counts) - runs.window_counts, runs.window_counts
        )
        begins = runs.rows * self._ctx_len + runs.starts
        places = np.repeat(begins, runs.window_counts) + within * self._length
        hashes = place_hashes(self._seed, np.zeros(1, np.int64), places)
        self._places = np.concatenate([self._places, places])
        self._documents = np.concatenate([self._documents, np.repeat(runs.documents, runs.window_counts)])
        self._hashes = np.concatenate([self._hashes, hashes])
        split = (self._places >= self._train_places).astype(np.int64)
        kept = smallest(split, self._hashes, self._count)
        self._places, self._documents, self._hashes = self._places[kept], self._documents[kept], self._hashes[kept]

    def drawn(self) -> PoolPlaces:
        """Returns the windows of both pools, those of train first: train rows come before test rows."""
        order = np.argsort(self._places)
        return PoolPlaces(self._places[order], self._documents[order])


def firing_pairs(
    windows: FiredWindows, pool: Int64[np.ndarray, " pool"]
) -> tuple[Int32[np.ndarray, " n"], Int32[np.ndarray, " n"]]:
    """Returns latent and pool number of the windows that are in the pool, by latent, then number."""
    at = np.searchsorted(pool, windows.places)
    found = at < len(pool)
    found[found] = pool[at[found]] == windows.places[found]
    return windows.latents[found].astype(np.int32), at[found].astype(np.int32)
