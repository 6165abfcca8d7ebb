"""Quantile sketches of positive float32 values: counts in bins of a fixed relative width.

A bin is all values with the same exponent and the same first six bits of the mantissa: the mapping of HdrHistogram, and
the "fast" mapping of DDSketch (Masson, Rim, Lee, VLDB 2019). Its bounds are integers shifted, so that they are the same
on every machine; counts add up, so that the order of values does not matter.
"""

import numpy as np
from jaxtyping import Float32, Float64, Int64

from activation.core.keyed_sums import KeyedSums

RELATIVE_ERROR = 1 / 128
"""A bin's middle is at most so far from a value in it, for values of float32's normal range (1.2e-38 and up)."""
QUANTILES = np.linspace(0.0, 1.0, 11)
_SHIFT = 23 - 6
_BINS = 1 << 14


class Sketch:
    """The bins of several groups. At most 16,320 counts a group; some hundreds where values span three decades."""

    def __init__(self) -> None:
        self._sums = KeyedSums(count=np.int64)

    def add(self, groups: Int64[np.ndarray, " n"], values: Float32[np.ndarray, " n"]) -> None:
        """Counts values above 0, each of a group from 0."""
        bins = groups * _BINS + _bin_of(values)
        self._sums.add(bins, count=np.ones(len(bins), np.int64))

    def counts(self, group_count: int) -> Int64[np.ndarray, " groups"]:
        """Returns how many values each group has."""
        owners = self._sums.keys // _BINS
        return np.bincount(owners, self._sums.columns["count"], group_count).astype(np.int64)

    def ranks(
        self, groups: Int64[np.ndarray, " n"], values: Float32[np.ndarray, " n"]
    ) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """Returns, for values that were added, how many of the group lie in lower bins, and how many in the same."""
        counts = self._sums.columns["count"]
        before = np.cumsum(counts) - counts
        firsts = np.searchsorted(self._sums.keys, groups * _BINS)
        at = np.searchsorted(self._sums.keys, groups * _BINS + _bin_of(values))
        return before[at] - before[firsts], counts[at]

    def quantiles(
        self, low: Float64[np.ndarray, " groups"], high: Float64[np.ndarray, " groups"]
    ) -> Float64[np.ndarray, "groups 11"]:
        """Returns 0 %, 10 %, ... 100 % of each group: the middle of the bin that holds the value of that rank.

        `low`, `high`: the exact least and greatest value of each group, returned for 0 % and 100 %. 0 where a group
        has no value.
        """
        counts = self._sums.columns["count"]
        sizes = self.counts(len(low))
        ends = np.cumsum(counts)
        bases = np.cumsum(sizes) - sizes
        wanted = bases[:, None] + np.floor(QUANTILES * np.maximum(sizes - 1, 0)[:, None]).astype(np.int64)
        at = np.minimum(np.searchsorted(ends, wanted, side="right"), max(len(ends) - 1, 0))
        middles = _middles(self._sums.keys % _BINS)[at] if len(ends) else np.zeros(wanted.shape)
        found = np.clip(middles, low[:, None], high[:, None])
        found[:, 0], found[:, -1] = low, high
        return np.where(sizes[:, None] > 0, found, 0.0)


def bin_floor(values: Float64[np.ndarray, " n"]) -> Float32[np.ndarray, " n"]:
    """Returns the least value of the bin that holds each value."""
    return (_bin_of(values.astype(np.float32)).astype(np.int32) << _SHIFT).view(np.float32)


def _bin_of(values: Float32[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    # The bits of positive floats are in the order of the floats.
    return (np.ascontiguousarray(values).view(np.int32) >> _SHIFT).astype(np.int64)


def _middles(bins: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    edges = np.stack([bins, bins + 1]).astype(np.int32) << _SHIFT
    low, high = edges.view(np.float32).astype(np.float64)
    return np.where(np.isfinite(high), (low + high) / 2, low)
