"""Metrics against the definitions, written out in the slowest way."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from scorer.core.metrics import (
    FLOOR,
    auroc,
    auroc_interval,
    balanced_accuracy,
    balanced_accuracy_interval,
    constant_answer_accuracy,
    mean_interval,
)

# Few distinct values, so that ties are common.
scores = st.lists(st.integers(0, 6).map(lambda n: n / 6), min_size=1, max_size=30).map(np.asarray)
answers = st.lists(st.booleans(), min_size=1, max_size=30).map(np.asarray)


@given(scores, scores)
def test_auroc_is_the_share_of_ordered_pairs(positives: np.ndarray, negatives: np.ndarray) -> None:
    pairs = list(itertools.product(positives, negatives))
    expected = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs) / len(pairs)
    assert auroc(positives, negatives) == pytest.approx(expected, abs=1e-12)


@given(scores, scores)
def test_auroc_is_mann_whitney_u_over_the_pairs(positives: np.ndarray, negatives: np.ndarray) -> None:
    u = mannwhitneyu(positives, negatives, method="asymptotic").statistic
    assert auroc(positives, negatives) == pytest.approx(u / (len(positives) * len(negatives)), abs=1e-12)


@given(scores, scores)
def test_auroc_is_the_area_under_the_curve(positives: np.ndarray, negatives: np.ndarray) -> None:
    thresholds = sorted({*positives.tolist(), *negatives.tolist()}, reverse=True)
    points = [(0.0, 0.0), *(((negatives >= t).mean(), (positives >= t).mean()) for t in thresholds)]
    area = sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in itertools.pairwise(points))
    assert auroc(positives, negatives) == pytest.approx(area, abs=1e-12)


@given(answers, answers)
def test_balanced_accuracy_is_the_mean_of_both_recalls(positives: np.ndarray, negatives: np.ndarray) -> None:
    recall = sum(map(bool, positives)) / len(positives)
    specificity = sum(not n for n in negatives) / len(negatives)
    assert balanced_accuracy(positives, negatives) == pytest.approx((recall + specificity) / 2, abs=1e-12)


@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from([0.0, 0.3, 1.0]))
def test_constant_judge_gets_exactly_the_floor(n_active: int, n_inactive: int, p: float) -> None:
    assert auroc(np.full(n_active, p), np.full(n_inactive, p)) == FLOOR
    assert balanced_accuracy(np.full(n_active, p > 0.5), np.full(n_inactive, p > 0.5)) == FLOOR


def test_a_metric_of_one_label_is_none() -> None:
    some, none = np.asarray([0.2, 0.4]), np.asarray([], np.float64)
    assert auroc(some, none) is None
    assert auroc(none, some) is None
    assert balanced_accuracy(some > 0.3, none > 0.3) is None
    assert auroc_interval(some, none, 0, 200) is None
    assert auroc_interval(some, some[:1], 0, 200) is None
    assert mean_interval(some[:1], 0, 200) is None


def test_intervals_are_seeded() -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    yes, no = rng.random(20) + 0.2, rng.random(20)
    assert auroc_interval(yes, no, 7, 500) == auroc_interval(yes, no, 7, 500)
    assert auroc_interval(yes, no, 7, 500) != auroc_interval(yes, no, 8, 500)


def test_more_resamples_than_one_chunk() -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    yes, no = rng.random(10) + 0.2, rng.random(10)
    few, many = auroc_interval(yes, no, 1, 4_000), auroc_interval(yes, no, 2, 10_000)
    assert few is not None
    assert many is not None
    assert few.low == pytest.approx(many.low, abs=0.02)
    assert few.high == pytest.approx(many.high, abs=0.02)


def _coverage(covered: list[bool]) -> float:
    return sum(covered) / len(covered)


def test_auroc_interval_covers_the_truth() -> None:
    """Normal scores one standard deviation apart: the true AUROC is Phi(1/sqrt 2)."""
    truth, covered = 0.7602, []
    for trial in range(300):
        rng = np.random.Generator(np.random.PCG64(trial))
        interval = auroc_interval(rng.normal(1, 1, 30), rng.normal(0, 1, 30), trial, 400)
        assert interval is not None
        covered.append(interval.low <= truth <= interval.high)
    assert 0.90 <= _coverage(covered) <= 0.99


def test_balanced_accuracy_interval_covers_the_truth() -> None:
    covered = []
    for trial in range(300):
        rng = np.random.Generator(np.random.PCG64(trial))
        interval = balanced_accuracy_interval(rng.random(40) < 0.7, rng.random(40) < 0.4, trial, 400)
        assert interval is not None
        covered.append(interval.low <= 0.65 <= interval.high)
    assert 0.90 <= _coverage(covered) <= 0.99


def test_mean_interval_covers_the_truth() -> None:
    covered = []
    for trial in range(300):
        values = np.random.Generator(np.random.PCG64(trial)).random(40)
        interval = mean_interval(values, trial, 400)
        assert interval is not None
        covered.append(interval.low <= 0.5 <= interval.high)
    assert 0.90 <= _coverage(covered) <= 0.99


def test_constant_answer_accuracy_is_the_larger_class() -> None:
    assert constant_answer_accuracy({0: 10, 1: 10}) == 0.5
    assert constant_answer_accuracy({0: 4, 1: 10}) == pytest.approx(10 / 14)
    assert constant_answer_accuracy({}) is None
