"""Deciles and balanced samples."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from latent_cache.quantiles import balanced_order, quantile_of

peaks = hnp.arrays(np.float32, st.integers(0, 90), elements=st.floats(0, 100, width=32))


@given(peaks)
def test_deciles_are_equal_in_size_and_ordered_by_peak(values: np.ndarray) -> None:
    quantiles = quantile_of(values)
    sizes = np.bincount(quantiles, minlength=10)
    assert sizes.sum() == len(values)
    assert sizes.max() - sizes.min() <= 1
    for low in range(9):
        below, above = values[quantiles == low], values[quantiles == low + 1]
        if len(below) and len(above):
            assert below.max() <= above.min()


@given(peaks, st.integers(0, 2**40))
def test_every_beginning_is_balanced(values: np.ndarray, seed: int) -> None:
    quantiles = quantile_of(values)
    order = balanced_order(quantiles, seed)
    assert sorted(order) == list(range(len(values)))
    sizes = np.bincount(quantiles, minlength=10)
    for n in range(len(values) + 1):
        taken = np.bincount(quantiles[order[:n]], minlength=10)
        open_ones = taken[taken < sizes]
        assert not len(open_ones) or taken.max() - open_ones.min() <= 1


@given(peaks, st.integers(1, 60), st.integers(0, 2**40))
def test_samples_are_stable(values: np.ndarray, count: int, seed: int) -> None:
    sample = balanced_order(quantile_of(values), seed)[:count]
    np.testing.assert_array_equal(sample, balanced_order(quantile_of(values), seed)[:count])
    assert len(set(sample.tolist())) == min(count, len(values))


def test_seeds_give_different_samples_and_every_window_can_be_drawn() -> None:
    values = np.arange(100, dtype=np.float32)
    samples = [frozenset(balanced_order(quantile_of(values), seed)[:10].tolist()) for seed in range(200)]
    assert len(set(samples)) > 190
    assert frozenset.union(*samples) == frozenset(range(100))
    assert all({int(i) // 10 for i in sample} == set(range(10)) for sample in samples)
