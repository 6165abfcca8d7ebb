"""Sketches and samples that do not depend on the order of what they see."""

import numpy as np
import pytest
from activation.core.fired_windows import FiredWindows
from activation.core.place_hash import place_hashes, uniform
from activation.core.silent_draw import SilentDraw
from activation.core.sketch import QUANTILES, RELATIVE_ERROR, Sketch
from activation.core.window_sample import WindowSample
from latent_cache.windows import find_runs


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_quantiles_of_a_sketch_are_within_the_stated_error(scale: float) -> None:
    generator = np.random.default_rng(1)
    values = (np.exp(generator.standard_normal(5000) * 2) * scale).astype(np.float32)
    groups = generator.integers(0, 3, len(values))
    sketch = Sketch()
    for at in range(0, len(values), 700):
        sketch.add(groups[at : at + 700], values[at : at + 700])
    low = np.asarray([values[groups == g].min() for g in range(3)] + [0.0], np.float64)
    high = np.asarray([values[groups == g].max() for g in range(3)] + [0.0], np.float64)
    found = sketch.quantiles(low, high)
    for group in range(3):
        exact = np.quantile(values[groups == group].astype(np.float64), QUANTILES, method="lower")
        np.testing.assert_allclose(found[group], exact, rtol=RELATIVE_ERROR)
        assert (found[group][0], found[group][-1]) == (low[group], high[group])
    assert not found[3].any()
    assert sketch.counts(4).tolist() == [*np.bincount(groups), 0]


def test_hashes_are_uniform_and_differ_by_latent_and_seed() -> None:
    places = np.arange(100_000)
    values = uniform(place_hashes(3, np.zeros(1, np.int64), places))
    assert np.histogram(values, 10, (0, 1))[0] == pytest.approx(10_000, rel=0.05)
    assert abs(np.corrcoef(values, uniform(place_hashes(3, np.ones(1, np.int64), places)))[0, 1]) < 0.02
    assert abs(np.corrcoef(values, uniform(place_hashes(4, np.zeros(1, np.int64), places)))[0, 1]) < 0.02


def _windows(count: int, peaks: np.ndarray) -> FiredWindows:
    return FiredWindows(np.zeros(count, np.int64), np.arange(count) * 8, peaks, np.zeros(count, np.bool_))


@pytest.mark.parametrize("block", [900, 4000])
@pytest.mark.parametrize("equal", [False, True])
def test_deciles_hold_equal_numbers_and_their_samples_are_uniform(equal: bool, block: int) -> None:
    """Also where all peaks are equal, so that one bin of the sketch is cut into ten deciles."""
    count, per_decile = 4000, 20
    peaks = np.ones(count) if equal else np.random.default_rng(2).exponential(1, count)
    windows = _windows(count, peaks.astype(np.float32))
    taken = np.zeros(count)
    for seed in range(60):
        sample = WindowSample(np.zeros(1, np.int64), 0, per_decile, seed)
        sample.measure(windows)
        for at in range(0, count, block):
            sample.choose(windows.chosen(np.arange(at, min(at + block, count))), whole=block == count)
        kept = sample.kept()
        assert np.bincount(kept.deciles, minlength=10).tolist() == [per_decile] * 10
        taken[kept.windows.places // 8] += 1
    # 60 draws of 200 from 4,000: 3 of each on average, in every tenth of the places.
    tenths = taken.reshape(10, -1).mean(1)
    if not (equal and block == count):  # equal peaks are in deciles by place
        assert tenths == pytest.approx(3.0, abs=0.4)
    if not equal:
        by_peak = taken[np.argsort(peaks)].reshape(40, -1).mean(1)
        assert by_peak == pytest.approx(3.0, abs=1.2)


def test_pools_do_not_depend_on_the_order_of_rows_and_hold_no_window_twice() -> None:
    documents = np.repeat(np.arange(300, dtype=np.int32), 8).reshape(100, 24)
    runs = [find_runs(documents[low : low + 10], low, 4) for low in range(0, 100, 10)]
    drawn = []
    for order in (runs, runs[::-1]):
        draw = SilentDraw(50, 9, 24, 4, 80)
        for piece in order:
            draw.add(piece)
        drawn.append(draw.drawn())
    assert drawn[0].places.tolist() == drawn[1].places.tolist()
    assert len(np.unique(drawn[0].places)) == 100
    assert (drawn[0].places < 80 * 24).sum() == 50
    assert (drawn[0].places % 4 == 0).all()
    assert drawn[0].documents.tolist() == documents.reshape(-1)[drawn[0].places].tolist()
    assert np.diff(drawn[0].places[:50] // 24 >= 40).sum() == 1  # from all over the rows
