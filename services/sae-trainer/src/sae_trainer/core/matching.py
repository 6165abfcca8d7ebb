"""The best one-to-one matching of two sets of directions: exact, and without the whole matrix of their cosines.

An assignment problem (Paulo and Belrose, arXiv 2501.16615, solve it with `scipy.optimize.linear_sum_assignment` over
the dense matrix, 137 GB of float64 at 131,072 latents). Here it is solved over the likeliest pairs only, which takes
a moment, and then proved: linear programming's dual prices of that solution say which left-out pairs could improve it.
Most cannot, by the least cosine of the pairs that were let in; the cosines of the others are computed once more, and
either such pairs are found and let in, or there are none and the matching is the best of all (column generation).
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from dense_products import linear
from jaxtyping import Float, Int64
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from torch import Tensor

from sae_trainer.core.dual_prices import Edges, Prices, dual_prices

_CANDIDATES = 32
"""Pairs that each direction enters with at first; a direction of random ones is matched to one of its nearest few."""
_MORE = 16
"""Pairs that a direction gains at most in each round."""
_BLOCK_BYTES = 64 * 2**20
TOLERANCE = 1e-6
"""A pair that would improve a matching by less than this is rounding: so much a pair may be missing from the sum."""


class Step(NamedTuple):
    """A sign of life: rows of a pass that are done."""

    done: int
    total: int
    message: str


@dataclass(frozen=True)
class Matching:
    """The one-to-one matching with the largest sum of cosines, and the nearest directions without that bond."""

    match: Int64[np.ndarray, " n"]
    """For each direction of the first set its partner in the second; -1 where there are fewer of those."""
    cosine: Float[np.ndarray, " n"]
    """Of each with its partner; 0 without one."""
    nearest: Int64[np.ndarray, " n"]
    nearest_cosine: Float[np.ndarray, " n"]
    other_nearest: Int64[np.ndarray, " m"]
    other_nearest_cosine: Float[np.ndarray, " m"]


@torch.no_grad()
def match(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Generator[Step, None, Matching]:
    """Matches rows of unit norm (or 0) of two sets; yields signs of life and returns the matching.

    Memory beside both sets: about 3 blocks of 64 MiB, and 16 kB a row for the pairs (measured at 36,864).
    """
    if len(a) > len(b):
        return _inverted((yield from match(b, a)))
    candidates = yield from _candidates(a, b)
    edges = candidates.edges
    pairs = min(len(a), len(b))
    # Any matching at all makes the problem solvable; its pairs are priced out at once where they are bad.
    edges = edges.joined(Edges(np.arange(pairs), np.arange(pairs), (a * b[:pairs]).sum(1).double().cpu().numpy()))
    prices, number = Prices.zero(len(a), len(b)), 0
    while True:
        number += 1
        found = _solved(edges)
        prices = dual_prices(edges, found, prices)
        more = edges.joined((yield from _improving(a, b, candidates, prices, number)))
        if more.size == edges.size:
            return candidates.matching(found, edges.cosine_of(found))
        edges = more


def unit_rows(x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Scales each row to norm 1, in place; a row of 0 stays 0 and has cosine 0 with everything."""
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x.div_(norm.clamp_(min=torch.finfo(x.dtype).tiny))


@dataclass(frozen=True)
class _Candidates:
    values: Tensor
    """Cosines of each row with its nearest ones, falling."""
    columns: Tensor
    other_values: Tensor
    rows: Tensor
    """For each column the nearest rows."""

    @property
    def edges(self) -> Edges:
        n, m = len(self.values), len(self.other_values)
        rows = np.repeat(np.arange(n), self.columns.shape[1])
        columns = np.repeat(np.arange(m), self.rows.shape[1])
        by_row = Edges(rows, self.columns.flatten().numpy(), self.values.flatten().double().numpy())
        return by_row.joined(Edges(self.rows.flatten().numpy(), columns, self.other_values.flatten().double().numpy()))

    def suspects(self, prices: Prices) -> tuple[Int64[np.ndarray, " rows"], Int64[np.ndarray, " columns"]]:
        """Returns the rows and the columns between which there may be a left-out pair worth more than its prices.

        A pair that was left out has no larger cosine than the last one of its row, and of its column, that was let in.
        """
        least, other_least = self.values[:, -1].numpy(), self.other_values[:, -1].numpy()
        rows = np.flatnonzero(least > prices.row + prices.column.min())
        if not len(rows):
            return rows, rows
        return rows, np.flatnonzero(other_least > prices.column + prices.row[rows].min())

    def matching(self, found: Int64[np.ndarray, " n"], cosine: Float[np.ndarray, " n"]) -> Matching:
        nearest, other = self.columns[:, 0].numpy(), self.rows[:, 0].numpy()
        return Matching(found, cosine, nearest, self.values[:, 0].numpy(), other, self.other_values[:, 0].numpy())


def _starts(n: int, m: int) -> range:
    """Returns where blocks of rows begin whose cosines with all columns fit a block."""
    return range(0, n, max(1, min(n, _BLOCK_BYTES // (4 * m))))


def _candidates(a: Tensor, b: Tensor) -> Generator[Step, None, _Candidates]:
    """Returns the nearest columns of each row and the nearest rows of each column."""
    starts = _starts(len(a), len(b))
    by_row: list[tuple[Tensor, Tensor]] = []
    other = (a.new_zeros(len(b), 0), a.new_zeros(len(b), 0, dtype=torch.int64))
    for start in starts:
        cosines = linear(a[start : start + starts.step], b)
        by_row.append(_top(cosines))
        values, rows = _top(cosines.T.contiguous())
        joined, numbers = torch.cat([other[0], values], 1), torch.cat([other[1], rows + start], 1)
        best, where = _top(joined)
        other = best, numbers.gather(1, where)
        yield Step(start, len(a), "nearest directions")
    values, columns = (torch.cat(pieces) for pieces in zip(*by_row, strict=True))
    return _Candidates(values.cpu(), columns.cpu(), other[0].cpu(), other[1].cpu())


def _top(values: Tensor) -> tuple[Tensor, Tensor]:
    best, where = values.topk(min(_CANDIDATES, values.shape[1]), dim=1)
    return best, where


def _solved(edges: Edges) -> Int64[np.ndarray, " n"]:
    """Returns the column of each row in the matching with the largest sum of cosines over these pairs."""
    cost = csr_matrix((2 - edges.cosine, (edges.row, edges.column)), shape=edges.shape)
    _, columns = min_weight_full_bipartite_matching(cost)
    return columns.astype(np.int64)


def _improving(
    a: Tensor, b: Tensor, candidates: _Candidates, prices: Prices, number: int
) -> Generator[Step, None, Edges]:
    """Returns pairs whose cosine is above the sum of their prices: without any, the matching is the best of all."""
    suspects, columns = candidates.suspects(prices)
    others = b[torch.from_numpy(columns).to(b.device)]
    price = torch.from_numpy(prices.column[columns]).to(a.device, a.dtype)
    found = [Edges.none()]
    for start in _starts(len(suspects), len(columns)) if len(columns) else ():
        rows = suspects[start : start + _starts(len(suspects), len(columns)).step]
        own = torch.from_numpy(prices.row[rows]).to(a.device, a.dtype)[:, None]
        cosines = linear(a[torch.from_numpy(rows).to(a.device)], others)
        best, where = (cosines - price).sub_(own).topk(min(_MORE, len(columns)), dim=1)
        which, place = (best > TOLERANCE).nonzero(as_tuple=True)
        column = where[which, place]
        cosine = cosines[which, column].double().cpu().numpy()
        found.append(Edges(rows[which.cpu().numpy()], columns[column.cpu().numpy()], cosine))
        yield Step(start, len(suspects), f"proving, round {number}")
    return Edges(*(np.concatenate(arrays) for arrays in zip(*found, strict=True)))


def _inverted(found: Matching) -> Matching:
    """Returns the matching seen from the other set, which has more directions."""
    n = len(found.other_nearest)
    partner, cosine = np.full(n, -1, np.int64), np.zeros(n)
    partner[found.match], cosine[found.match] = np.arange(len(found.match)), found.cosine
    return Matching(
        partner, cosine, found.other_nearest, found.other_nearest_cosine, found.nearest, found.nearest_cosine
    )
