"""Metrics of trials in which a judge picks one of several: which was picked, and how the odd one ranks."""

import numpy as np
from jaxtyping import Bool, Float

from scorer.core.metrics import Interval, percentiles, resampled_counts


def concordance(shares: Float[np.ndarray, " choices"], place: int) -> float:
    """Returns in how many of a trial's pairs (right choice, wrong choice) the right one has the larger share of
    probability, ties counted half. 0.5 for a judge that does not tell them apart."""
    others = np.delete(shares, place)
    return float(((np.sign(shares[place] - others) + 1.0) / 2.0).mean())


def mean_of_trials(values: "Float[np.ndarray, ' trials'] | Bool[np.ndarray, ' trials']") -> float | None:
    """Returns the mean over trials. None without one."""
    return float(values.mean()) if values.size else None


def trials_interval(
    values: "Float[np.ndarray, ' trials'] | Bool[np.ndarray, ' trials']", seed: int, resample_count: int
) -> Interval | None:
    """Bootstrap over trials. None with fewer than two. Trials share windows, so it is somewhat too narrow."""
    if values.size < 2:
        return None
    rng = np.random.Generator(np.random.PCG64(seed))
    return percentiles(resampled_counts(rng, values.size, resample_count) @ values / values.size)
