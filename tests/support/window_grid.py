"""All windows of some rows, and those in which a latent fires: the plain way, which what is stored is held against."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Int32, Int64
from latent_cache import Entries, Split
from latent_cache.windows import Runs


@dataclass(frozen=True, slots=True)
class WindowGrid:
    """All windows of some rows, numbered by row and position. Memory grows with the runs, not with the tokens."""

    length: int
    ctx_len: int
    train_window_count: int
    """Windows of train documents; they have the numbers below it."""
    runs: Runs
    first_windows: Int64[np.ndarray, " runs_plus_1"]
    """Number of the first window of each run, and the number of all windows."""

    @classmethod
    def of(cls, pieces: Sequence[Runs], length: int, ctx_len: int, train_row_count: int) -> "WindowGrid":
        """Joins runs that are in order."""
        runs = Runs(
            *(
                np.concatenate([np.empty(0, np.int64), *(getattr(p, name) for p in pieces)])
                for name in ("rows", "starts", "documents", "window_counts")
            )
        )
        first_windows = np.concatenate([[0], np.cumsum(runs.window_counts)]).astype(np.int64)
        train_runs = int(np.searchsorted(runs.rows, train_row_count))
        return cls(length, ctx_len, int(first_windows[train_runs]), runs, first_windows)

    @property
    def window_count(self) -> int:
        """Number of windows of both splits."""
        return int(self.first_windows[-1])

    def bounds(self, split: Split | None) -> tuple[int, int]:
        """First and end number of the windows of a split; of both for None."""
        if split is None:
            return 0, self.window_count
        return (0, self.train_window_count) if split == "train" else (self.train_window_count, self.window_count)

    def locate(self, rows: Int32[np.ndarray, " n"], positions: Int32[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """Returns the number of the window that holds each place, -1 where none does."""
        if not len(self.runs.rows):
            return np.full(len(rows), -1, np.int64)
        begins = self.runs.rows * self.ctx_len + self.runs.starts
        places = rows.astype(np.int64) * self.ctx_len + positions
        run = np.searchsorted(begins, places, side="right") - 1
        block = (places - begins[run]) // self.length
        inside = (run >= 0) & (block < self.runs.window_counts[run])
        return np.where(inside, self.first_windows[run] + block, -1)

    def places(self, windows: Int64[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns row, first position and document of windows."""
        run = np.searchsorted(self.first_windows, windows, side="right") - 1
        starts = self.runs.starts[run] + (windows - self.first_windows[run]) * self.length
        return self.runs.rows[run], starts, self.runs.documents[run]


@dataclass(frozen=True, slots=True)
class Activating:
    """The windows in which a latent fires, in rising order of their numbers."""

    windows: Int64[np.ndarray, " n"]
    peaks: Float32[np.ndarray, " n"]
    """The strongest activation in each."""
    first_entries: Int64[np.ndarray, " n_plus_1"] = field(repr=False)
    offsets: Int32[np.ndarray, " entries"] = field(repr=False)
    """Position inside the window of each entry; window `i` owns `first_entries[i]:first_entries[i + 1]`."""
    activations: Float32[np.ndarray, " entries"] = field(repr=False)

    def __len__(self) -> int:
        return len(self.windows)

    def within(self, bounds: tuple[int, int]) -> slice:
        """Returns the slice of this latent's windows whose numbers lie in `[first, end)`."""
        low, high = np.searchsorted(self.windows, bounds)
        return slice(int(low), int(high))


def activating(grid: WindowGrid, entries: Entries) -> Activating:
    """Groups a latent's entries (sorted by row, then position) by window; those in no window are left out."""
    windows = grid.locate(entries.rows, entries.positions)
    inside = windows >= 0
    windows = windows[inside]
    activations = entries.activations[inside]
    firsts = np.flatnonzero(np.diff(windows, prepend=-1))
    unique = windows[firsts]
    _, starts, _ = grid.places(unique)
    counts = np.diff(firsts, append=len(windows))
    offsets = entries.positions[inside] - np.repeat(starts, counts)
    peaks = np.maximum.reduceat(activations, firsts) if len(firsts) else activations
    return Activating(unique, peaks, np.append(firsts, len(windows)), offsets.astype(np.int32), activations)
