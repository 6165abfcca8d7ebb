"""Intervals, effect sizes and permutation tests of the scorecard."""

import numpy as np
import pytest
from scipy import stats
from scorer.core.scorecard_statistics import (
    Resampling,
    cliffs_delta,
    compare,
    hedges_g,
    mean_estimate,
    permutation_test,
)

HOW = Resampling(0.95, 1_000, 0)


def normal(seed: int, size: int, mean: float = 0.0) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(seed)).normal(mean, 1.0, size)


def covered(count: int, size: int) -> float:
    hits = 0
    for seed in range(count):
        found = mean_estimate(normal(seed, size), Resampling(0.95, 1_000, seed))
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0.0 <= found.high
    return hits / count


def test_interval_of_ten_latents_covers_what_it_promises() -> None:
    # Plain percentiles cover about 0.90 here.
    assert 0.925 <= covered(600, 10) <= 0.98


@pytest.mark.parametrize("paired", [True, False])
def test_interval_of_a_difference_covers_what_it_promises(paired: bool) -> None:
    hits = 0
    for seed in range(400):
        found = compare(normal(seed, 10, 0.3), normal(seed + 10_000, 10), paired, Resampling(0.95, 1_000, seed))
        assert found.difference.low is not None
        assert found.difference.high is not None
        hits += found.difference.low <= 0.3 <= found.difference.high
    assert 0.92 <= hits / 400 <= 0.985


def test_mean_of_known_values_and_of_too_few() -> None:
    found = mean_estimate(np.array([0.2, 0.4, 0.6]), HOW)
    assert found.value == pytest.approx(0.4)
    assert found.n == 3
    assert found.low is not None
    assert found.high is not None
    assert 0.2 <= found.low < 0.4 < found.high <= 0.6
    one = mean_estimate(np.array([0.7]), HOW)
    assert (one.value, one.low, one.high, one.n) == (0.7, None, None, 1)
    none = mean_estimate(np.array([]), HOW)
    assert (none.value, none.low, none.n) == (None, None, 0)


def test_confidence_widens_the_interval() -> None:
    values = normal(1, 30)
    narrow, wide = (mean_estimate(values, Resampling(c, 4_000, 0)) for c in (0.8, 0.99))
    assert wide.low is not None
    assert narrow.low is not None
    assert wide.low < narrow.low


def test_cliffs_delta_of_known_sides() -> None:
    high, low = np.array([3.0, 4.0, 5.0]), np.array([0.0, 1.0, 2.0])
    assert cliffs_delta(high, low) == 1.0
    assert cliffs_delta(low, high) == -1.0
    assert cliffs_delta(np.array([1.0, 2.0]), np.array([1.0, 2.0])) == 0.0
    assert cliffs_delta(np.array([1.0, 2.0, 2.0]), np.array([2.0, 0.0])) == pytest.approx((3 - 1) / 6)


def test_resampled_delta_is_the_same_number_as_the_direct_one() -> None:
    for seed in range(20):
        rng = np.random.Generator(np.random.PCG64(seed))
        a, b = rng.integers(0, 6, 9).astype(float), rng.integers(0, 6, 14).astype(float)
        assert compare(a, b, False, HOW).cliffs_delta.value == pytest.approx(cliffs_delta(a, b))


def test_hedges_g_of_known_sides() -> None:
    a, b = np.array([2.0, 4.0, 6.0, 8.0]), np.array([1.0, 3.0, 5.0, 7.0])
    pooled = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    assert hedges_g(a, b) == pytest.approx(1.0 / pooled * (1 - 3 / (4 * 6 - 1)))
    assert hedges_g(np.ones(4), np.zeros(4)) is None


def test_exact_permutation_p_of_known_sides() -> None:
    high, low = np.array([3.0, 4.0, 5.0]), np.array([0.0, 1.0, 2.0])
    split = permutation_test(high, low, False, HOW)
    assert split is not None
    assert (split.p_value, split.count, split.exact) == (pytest.approx(2 / 20), 20, True)
    signs = permutation_test(high, low, True, HOW)
    assert signs is not None
    assert (signs.p_value, signs.count, signs.exact) == (pytest.approx(2 / 8), 8, True)
    assert permutation_test(high, np.array([]), False, HOW) is None


def test_exact_split_agrees_with_scipy() -> None:
    a, b = normal(3, 6, 0.8), normal(4, 7)
    found = permutation_test(a, b, False, HOW)
    theirs = stats.permutation_test((a, b), lambda x, y: x.mean() - y.mean(), n_resamples=np.inf)
    assert found is not None
    # scipy doubles the smaller tail; ours counts both. They agree within the asymmetry of the permutations.
    assert found.p_value == pytest.approx(theirs.pvalue, abs=0.02)


def test_drawn_permutation_counts_the_observed_one() -> None:
    found = permutation_test(np.ones(40) * 5 + normal(1, 40) / 10, normal(2, 40) / 10, False, HOW)
    assert found is not None
    assert not found.exact
    assert found.p_value == pytest.approx(1 / 1_001)


@pytest.mark.parametrize(("paired", "size"), [(True, 10), (False, 6), (True, 30), (False, 30)])
def test_permutation_p_is_uniform_under_the_null(paired: bool, size: int) -> None:
    values = []
    for seed in range(300):
        found = permutation_test(normal(seed, size), normal(seed + 5_000, size), paired, Resampling(0.95, 300, seed))
        assert found is not None
        values.append(found.p_value)
    assert stats.kstest(values, "uniform").pvalue > 0.001
    assert 0.01 <= np.mean(np.array(values) <= 0.05) <= 0.10


def test_numbers_do_not_move_each_others_draws() -> None:
    values = normal(5, 12)
    alone = mean_estimate(values, HOW, "a")
    mean_estimate(values, HOW, "b")
    assert mean_estimate(values, HOW, "a") == alone
    assert mean_estimate(values, Resampling(0.95, 1_000, 1), "a") != alone


def test_many_latents_are_resampled_in_bounded_pieces() -> None:
    a, b = normal(1, 5_000, 0.1), normal(2, 4_000)
    found = compare(a, b, False, Resampling(0.95, 200, 0))
    assert found.difference.value == pytest.approx(a.mean() - b.mean())
    assert found.difference.low is not None
    assert found.difference.low > 0.0
