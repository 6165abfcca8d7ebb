"""Windows: equal pieces of documents, those in which a latent fires and those in which it is silent.

A row is cut into runs of one document, and each run, from its first token on, into blocks of `length` tokens; what is
left at the end of a run is in no window. So all windows have the same length and none holds a BOS, padding, or two
documents. Nothing here makes a Python object per entry or per window of a latent, only per window used.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Int32, Int64

from latent_cache.layout import Entries
from latent_cache.token_rows import Split, TokenRows

_ROWS_AT_ONCE = 8192


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """`length` consecutive tokens of one document, and a latent's activation at each."""

    row: int
    start: int
    document: int
    split: str
    tokens: Int32[np.ndarray, " length"]
    activations: Float32[np.ndarray, " length"]

    @property
    def max(self) -> float:
        """The strongest activation; 0 when the latent is silent."""
        return float(self.activations.max())


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of one document in rows, in the order of row and position; only those with room for a window."""

    rows: Int64[np.ndarray, " n"]
    starts: Int64[np.ndarray, " n"]
    documents: Int64[np.ndarray, " n"]
    window_counts: Int64[np.ndarray, " n"]


def find_runs(documents: Int32[np.ndarray, "rows ctx_len"], first_row: int, length: int) -> Runs:
    """Returns the runs of rows `first_row` and following, given the document of each token (-1: none)."""
    ctx_len = documents.shape[1]
    changes = np.ones(documents.shape, np.bool_)
    changes[:, 1:] = documents[:, 1:] != documents[:, :-1]
    begins = np.flatnonzero(changes)
    ends = np.append(begins[1:], documents.size)
    owners = documents.reshape(-1)[begins]
    counts = (ends - begins) // length
    kept = (owners >= 0) & (counts > 0)
    begins = begins[kept]
    return Runs(
        first_row + begins // ctx_len, begins % ctx_len, owners[kept].astype(np.int64), counts[kept].astype(np.int64)
    )


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
    def read(cls, token_rows: TokenRows, row_ranges: Sequence[tuple[int, int]], length: int) -> "WindowGrid":
        """Reads the documents of `[first, end)` row ranges, which must rise and not overlap."""
        pieces: list[Runs] = []
        for first, end in row_ranges:
            for low in range(first, end, _ROWS_AT_ONCE):
                rows = np.arange(low, min(low + _ROWS_AT_ONCE, end))
                pieces.append(find_runs(token_rows.documents(rows), low, length))
        return cls.of(pieces, length, token_rows.ctx_len, token_rows.train_row_count)

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


def draw_silent(
    grid: WindowGrid, active: Activating, count: int, seed: int, split: Split | None
) -> Int64[np.ndarray, " n"]:
    """Draws windows of a split in which the latent is exactly silent, without replacement, in random order.

    Derive the seed from ids with `dragoman.ids.derived_seed(run seed, artifact id, latent, purpose)`, so that no two
    latents share a draw. Returns fewer than `count` when there are fewer silent windows. The windows for a smaller
    count are not always the first of those for a larger one.
    """
    low, high = grid.bounds(split)
    firing = active.windows[active.within((low, high))] - low
    silent_count = (high - low) - len(firing)
    ranks = np.random.Generator(np.random.PCG64(seed)).choice(silent_count, min(count, silent_count), replace=False)
    # Window number minus position in the list is how many silent windows come before each firing one.
    return low + ranks + np.searchsorted(firing - np.arange(len(firing)), ranks, side="right")


def silent_windows(grid: WindowGrid, token_rows: TokenRows, windows: Int64[np.ndarray, " n"]) -> list[Window]:
    """Makes the objects of windows in which the latent is silent."""
    return _windows(grid, token_rows, windows, np.zeros((len(windows), grid.length), np.float32))


def activating_windows(
    grid: WindowGrid, token_rows: TokenRows, active: Activating, chosen: Int64[np.ndarray, " n"]
) -> list[Window]:
    """Makes the objects of a latent's windows, given their positions in `active`, in that order."""
    dense = np.zeros((len(chosen), grid.length), np.float32)
    for i, which in enumerate(chosen):
        span = slice(int(active.first_entries[which]), int(active.first_entries[which + 1]))
        dense[i, active.offsets[span]] = active.activations[span]
    return _windows(grid, token_rows, active.windows[chosen], dense)


def _windows(
    grid: WindowGrid, token_rows: TokenRows, windows: np.ndarray, activations: Float32[np.ndarray, "n length"]
) -> list[Window]:
    rows, starts, documents = grid.places(windows)
    tokens = token_rows.tokens(rows)[np.arange(len(rows))[:, None], starts[:, None] + np.arange(grid.length)]
    return [
        Window(
            int(rows[i]), int(starts[i]), int(documents[i]), token_rows.split(int(rows[i])), tokens[i], activations[i]
        )
        for i in range(len(rows))
    ]
