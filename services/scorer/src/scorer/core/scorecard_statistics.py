"""Bootstrap intervals, effect sizes and permutation tests over latents."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from dragoman.ids import derived_seed
from jaxtyping import Bool, Float, Int
from scipy import stats

_CELLS = 4_000_000
"""Numbers held at a time while resampling."""
_EXACT_SIGNS = 16
"""Pairs up to which all 2^n sign patterns are tried."""
_EXACT_SPLITS = 200_000
"""Ways to split the latents into two sides up to which all are tried."""

Values = Float[np.ndarray, " n"]
Counts = Int[np.ndarray, "resamples n"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, its two-sided interval, and how many latents (or pairs of latents) it rests on.

    `value` is None without a latent, the interval None with fewer than two.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Resampling:
    """How intervals and tests draw."""

    confidence: float
    resample_count: int
    seed: int

    def generator(self, *names: object) -> np.random.Generator:
        """Returns the generator of one number, named so that no other number's draws move it."""
        return np.random.Generator(np.random.PCG64(derived_seed("scorecard", self.seed, *names)))


@dataclass(frozen=True, slots=True)
class PermutationTest:
    """Two-sided p-value of a difference of means."""

    p_value: float
    count: int
    """Relabelings tried."""
    exact: bool
    """All of them, or a seeded sample."""


@dataclass(frozen=True, slots=True)
class Effects:
    """Difference of means (trained minus control) and two effect sizes, on the same resamples."""

    difference: Estimate
    cliffs_delta: Estimate
    hedges_g: Estimate


def mean_estimate(values: Values, how: Resampling, *names: object) -> Estimate:
    """Returns the mean with its bootstrap interval over latents."""
    n = int(values.size)
    if n < 2:
        return Estimate(float(values[0]) if n else None, None, None, n)
    rng = how.generator("mean", *names)
    drawn = np.concatenate([counts @ values / n for counts in _resamples(rng, n, how.resample_count)])
    low, high = _expanded_percentiles(drawn, how.confidence, n, n - 1)
    return Estimate(float(values.mean()), low, high, n)


def compare(trained: Values, control: Values, paired: bool, how: Resampling, *names: object) -> Effects:
    """Returns the effects of trained against control.

    paired: entry i of both belongs together; pairs are resampled. Otherwise each side is resampled by itself.
    """
    sizes = (int(trained.size), int(control.size))
    point = _effects(trained, control, np.ones((1, sizes[0]), np.int64), np.ones((1, sizes[1]), np.int64))
    n = min(sizes)
    if n < 2:
        return Effects(*(Estimate(_finite(v[0]), None, None, n) for v in point))
    draws = _paired_or_not(how.generator("difference", *names), sizes, paired, how.resample_count)
    columns = zip(*(_effects(trained, control, *counts) for counts in draws), strict=True)
    freedom = n - 1 if paired else _welch_freedom(trained, control)
    estimates = []
    for value, column in zip(point, columns, strict=True):
        low, high = _expanded_percentiles(np.concatenate(column), how.confidence, n, freedom)
        known = _finite(value[0]) is not None
        estimates.append(Estimate(_finite(value[0]), low if known else None, high if known else None, n))
    return Effects(*estimates)


def cliffs_delta(trained: Values, control: Values) -> float:
    """Returns P(t > c) - P(t < c) over all cross pairs: 1 when every trained value is above every control value."""
    return float(np.sign(trained[:, None] - control[None, :]).mean())


def hedges_g(trained: Values, control: Values) -> float | None:
    """Returns the difference of means in pooled standard deviations, corrected for small samples (Hedges 1981).

    None when no value differs from its side's mean, so that the unit is zero.
    """
    ones = (np.ones((1, trained.size), np.int64), np.ones((1, control.size), np.int64))
    return _finite(_effects(trained, control, *ones)[2][0])


def permutation_test(
    trained: Values, control: Values, paired: bool, how: Resampling, *names: object
) -> PermutationTest | None:
    """Tests whether the sides' labels matter for the difference of means. None with an empty side.

    paired: signs of the pairs' differences are flipped; otherwise latents are split anew. All ways are tried when
    there are few, else `how.resample_count` drawn ones, the observed one counted among them.
    """
    if not trained.size or not control.size:
        return None
    rng = how.generator("permutation", *names)
    if paired:
        return _sign_test(trained - control, rng, how.resample_count)
    return _split_test(trained, control, rng, how.resample_count)


def _sign_test(differences: Values, rng: np.random.Generator, count: int) -> PermutationTest:
    n = int(differences.size)
    if n <= _EXACT_SIGNS:
        signs = np.array(list(product((1.0, -1.0), repeat=n)))
        return _verdict(np.abs(signs @ differences) / n, abs(float(differences.mean())), exact=True)
    chunks = [np.abs((2.0 * rng.integers(0, 2, (size, n)) - 1.0) @ differences) / n for size in _chunk_sizes(count, n)]
    return _verdict(np.concatenate(chunks), abs(float(differences.mean())), exact=False)


def _split_test(trained: Values, control: Values, rng: np.random.Generator, count: int) -> PermutationTest:
    pooled, first = np.concatenate([trained, control]), int(trained.size)
    rest = pooled.size - first
    observed = abs(float(trained.mean() - control.mean()))

    def far(sums: Values) -> Values:
        return np.abs(sums / first - (pooled.sum() - sums) / rest)

    if math.comb(pooled.size, first) <= _EXACT_SPLITS:
        splits = np.array(list(combinations(range(pooled.size), first)))
        return _verdict(far(pooled[splits].sum(axis=1)), observed, exact=True)
    sums = [
        rng.permuted(np.broadcast_to(pooled, (size, pooled.size)), axis=1)[:, :first].sum(axis=1)
        for size in _chunk_sizes(count, pooled.size)
    ]
    return _verdict(far(np.concatenate(sums)), observed, exact=False)


def _verdict(statistics: Values, observed: float, exact: bool) -> PermutationTest:
    # Sums in another order differ in the last bits; a tie must count as one.
    hits: Bool[np.ndarray, " n"] = statistics >= observed - 1e-12
    extra = 0 if exact else 1
    return PermutationTest(float((hits.sum() + extra) / (hits.size + extra)), int(hits.size), exact)


def _effects(trained: Values, control: Values, t_counts: Counts, c_counts: Counts) -> tuple[Values, Values, Values]:
    """Returns difference, Cliff's delta and Hedges' g of each resample; NaN where g is undefined."""
    n_t, n_c = trained.size, control.size
    if not n_t or not n_c:
        nothing = np.full(t_counts.shape[0], np.nan)
        return nothing, nothing, nothing
    mean_t, mean_c = t_counts @ trained / n_t, c_counts @ control / n_c
    difference = mean_t - mean_c
    squares = _squares(trained, t_counts, mean_t) + _squares(control, c_counts, mean_c)
    freedom = n_t + n_c - 2
    if freedom < 1:
        return difference, _delta(trained, control, t_counts, c_counts), np.full_like(difference, np.nan)
    unit = np.sqrt(np.where(squares > 1e-18, squares, np.nan) / freedom)
    correction = 1.0 - 3.0 / (4.0 * freedom - 1.0)
    return difference, _delta(trained, control, t_counts, c_counts), correction * difference / unit


def _squares(values: Values, counts: Counts, means: Values) -> Values:
    return np.maximum(counts @ values**2 - values.size * means**2, 0.0)


def _delta(trained: Values, control: Values, t_counts: Counts, c_counts: Counts) -> Values:
    """Cliff's delta of resamples in linear time: how many control draws lie below and not above each trained value."""
    order = np.argsort(control, kind="stable")
    ordered = control[order]
    summed = np.concatenate([np.zeros((c_counts.shape[0], 1)), np.cumsum(c_counts[:, order], axis=1)], axis=1)
    below = summed[:, np.searchsorted(ordered, trained, side="left")]
    above = control.size - summed[:, np.searchsorted(ordered, trained, side="right")]
    return (t_counts * (below - above)).sum(axis=1) / (trained.size * control.size)


def _expanded_percentiles(
    drawn: Values, confidence: float, n: int, freedom: float
) -> tuple[float | None, float | None]:
    """Percentiles moved outwards to make up for few latents (Hesterberg 2015, "expanded percentile interval").

    Plain percentiles of the mean of 10 values cover 90% where they promise 95%. The tails are chosen so that for
    normal values the interval is as wide as Student's.
    """
    drawn = drawn[np.isfinite(drawn)]
    if not drawn.size:
        return None, None
    quantile = float(stats.t.ppf((1.0 - confidence) / 2.0, freedom)) * math.sqrt(n / (n - 1))
    tail = float(stats.norm.cdf(quantile))
    low, high = np.quantile(drawn, (tail, 1.0 - tail))
    return float(low), float(high)


def _welch_freedom(trained: Values, control: Values) -> float:
    a, b = trained.var(ddof=1) / trained.size, control.var(ddof=1) / control.size
    least = float(min(trained.size, control.size) - 1)
    if a + b <= 0.0:
        return least
    return max(least, float((a + b) ** 2 / (a**2 / (trained.size - 1) + b**2 / (control.size - 1))))


def _paired_or_not(
    rng: np.random.Generator, sizes: tuple[int, int], paired: bool, count: int
) -> Iterator[tuple[Counts, Counts]]:
    if paired:
        yield from ((counts, counts) for counts in _resamples(rng, sizes[0], count))
        return
    for size in _chunk_sizes(count, sum(sizes)):
        yield _drawn(rng, sizes[0], size), _drawn(rng, sizes[1], size)


def _resamples(rng: np.random.Generator, n: int, count: int) -> Iterator[Counts]:
    for size in _chunk_sizes(count, n):
        yield _drawn(rng, n, size)


def _drawn(rng: np.random.Generator, n: int, count: int) -> Counts:
    """Returns how often each of n values was drawn in each of `count` resamples."""
    flat = rng.integers(0, n, (count, n)) + n * np.arange(count)[:, None]
    return np.bincount(flat.ravel(), minlength=count * n).reshape(count, n)


def _chunk_sizes(count: int, n: int) -> list[int]:
    size = max(1, _CELLS // max(1, n))
    return [min(size, count - done) for done in range(0, count, size)]


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
