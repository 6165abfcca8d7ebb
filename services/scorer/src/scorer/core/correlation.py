"""Pearson's correlation of predicted and true activations over all tokens of some windows, with its interval."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from scorer.core.metrics import Interval, percentiles, resampled_counts


@dataclass(frozen=True, slots=True, eq=False)
class Simulated:
    """One window: what was predicted for each token, and what is true."""

    predicted: Float[np.ndarray, " pos"]
    true: Float[np.ndarray, " pos"]


def pearson(windows: Sequence[Simulated]) -> float | None:
    """Returns the correlation over the tokens of all windows together.

    0 where all tokens are predicted alike: such a prediction explains nothing. None where the truth is constant.
    """
    if not windows:
        return None
    value = _correlations(np.ones((1, len(windows)), np.int64), _sums(windows))[0]
    return None if np.isnan(value) else float(value)


def pearson_interval(windows: Sequence[Simulated], seed: int, resample_count: int) -> Interval | None:
    """Bootstrap over windows, whose tokens stay together. None with fewer than two, or a constant truth."""
    if len(windows) < 2 or pearson(windows) is None:
        return None
    rng = np.random.Generator(np.random.PCG64(seed))
    values = _correlations(resampled_counts(rng, len(windows), resample_count), _sums(windows))
    known = values[~np.isnan(values)]
    return percentiles(known) if known.size else None


def _sums(windows: Sequence[Simulated]) -> Float[np.ndarray, "windows 6"]:
    return np.asarray(
        [
            (w.true.size, w.predicted.sum(), w.true.sum(), (w.predicted**2).sum(), (w.true**2).sum(),
             (w.predicted * w.true).sum())
            for w in windows
        ],
        np.float64,
    )  # fmt: skip


def _correlations(
    counts: "np.ndarray[tuple[int, int], np.dtype[np.int64]]", sums: Float[np.ndarray, "windows 6"]
) -> Float[np.ndarray, " resamples"]:
    n, x, y, xx, yy, xy = (counts @ sums).T
    variance_x, variance_y = n * xx - x * x, n * yy - y * y
    # What is left of a constant after rounding is no variance.
    flat_x, flat_y = variance_x <= 1e-12 * n * xx, variance_y <= 1e-12 * n * yy
    product = np.sqrt(np.where(flat_x, 1.0, variance_x) * np.where(flat_y, 1.0, variance_y))
    return np.where(flat_y, np.nan, np.where(flat_x, 0.0, (n * xy - x * y) / product))
