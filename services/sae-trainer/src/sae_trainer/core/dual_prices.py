"""Prices that prove a matching: linear programming's dual of an assignment problem over a list of pairs."""

from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Float, Int64

_ROUNDING = 1e-12


class Edges(NamedTuple):
    """Pairs of a row and a column that may be matched."""

    row: Int64[np.ndarray, " pairs"]
    column: Int64[np.ndarray, " pairs"]
    cosine: Float[np.ndarray, " pairs"]

    @classmethod
    def none(cls) -> Self:
        """No pairs."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))

    @property
    def size(self) -> int:
        """Number of pairs."""
        return len(self.row)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, all of which have a pair."""
        return int(self.row.max()) + 1, int(self.column.max()) + 1

    def joined(self, other: "Edges") -> "Edges":
        """Returns the pairs of both, each once, by row and column; a pair of both has the cosine it has here."""
        row, column = np.concatenate([self.row, other.row]), np.concatenate([self.column, other.column])
        _, first = np.unique(row * (int(column.max()) + 1) + column, return_index=True)
        return Edges(row[first], column[first], np.concatenate([self.cosine, other.cosine])[first])

    def cosine_of(self, match: Int64[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
        """Returns the cosine of each row with its partner, one of its pairs."""
        found = np.empty(len(match))
        chosen = match[self.row] == self.column
        found[self.row[chosen]] = self.cosine[chosen]
        return found


class Prices(NamedTuple):
    """What a row and a column are worth: never together less than their cosine, just that where they are matched."""

    row: Float[np.ndarray, " rows"]
    column: Float[np.ndarray, " columns"]

    @classmethod
    def zero(cls, rows: int, columns: int) -> Self:
        """The prices to start from."""
        return cls(np.zeros(rows), np.zeros(columns))


def dual_prices(edges: Edges, match: Int64[np.ndarray, " rows"], start: Prices) -> Prices:
    """Returns the prices of a best matching.

    A column that nobody took costs 0, no column less. A row that would rather have another column than its own raises
    that column's price to what it would gain; then the column's own row may want another, and so on: the longest paths
    of Bellman and Ford, which end because the matching is a best one over these pairs.

    Args:
        edges: The pairs, sorted by row.
        match: The column of each row.
        start: Prices of an earlier matching over fewer pairs, which are near; or 0.
    """
    own = edges.cosine_of(match)
    gain = edges.cosine - own[edges.row]
    first = np.searchsorted(edges.row, np.arange(len(match) + 1))
    owner = np.full(len(start.column), -1, np.int64)
    owner[match] = np.arange(len(match))
    # Where a column has no row it must cost 0 in the end, which only prices that began at 0 can promise.
    column = start.column.copy() if len(match) == len(start.column) else np.zeros(len(start.column))
    wanting = np.arange(len(match))
    while len(wanting):
        pairs = _ranges(first[wanting], first[wanting + 1])
        bids = gain[pairs] + column[match[edges.row[pairs]]]
        before = column.copy()
        np.maximum.at(column, edges.column[pairs], bids)
        raised = owner[column > before + _ROUNDING]
        wanting = raised[raised >= 0]
    return Prices(own - column[match], column)


def _ranges(starts: Int64[np.ndarray, " n"], stops: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " total"]:
    """Returns start..stop-1 of each range, one after the other."""
    sizes = stops - starts
    offsets = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes)
    return np.arange(int(sizes.sum())) + offsets
