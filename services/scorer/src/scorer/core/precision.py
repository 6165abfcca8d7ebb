"""Average precision and F1: metrics that notice a label that is too narrow or too wide (2506.05774), with intervals."""

import numpy as np
from jaxtyping import Bool, Float, Int

from scorer.core.metrics import Interval, percentiles, resampled_counts

_CHUNK = 2_048


def average_precision(
    positives: Float[np.ndarray, " positives"], negatives: Float[np.ndarray, " negatives"]
) -> float | None:
    """Returns the area under precision over recall as a step function (AUPRC): the sum of gains in recall, each times
    the precision at its threshold; equal values share one threshold. None when there are no positives or no negatives.
    """
    if positives.size == 0 or negatives.size == 0:
        return None
    ones = (np.ones((1, positives.size), np.int64), np.ones((1, negatives.size), np.int64))
    return float(_average_precision(positives, negatives, *ones)[0])


def average_precision_interval(
    positives: Float[np.ndarray, " positives"],
    negatives: Float[np.ndarray, " negatives"],
    seed: int,
    resample_count: int,
) -> Interval | None:
    """Bootstrap over examples, positives and negatives resampled apart. None with fewer than two of either."""
    if min(positives.size, negatives.size) < 2:
        return None
    rng = np.random.Generator(np.random.PCG64(seed))
    values: list[Float[np.ndarray, " resamples"]] = []
    for done in range(0, resample_count, _CHUNK):
        size = min(_CHUNK, resample_count - done)
        yes = resampled_counts(rng, positives.size, size)
        no = resampled_counts(rng, negatives.size, size)
        values.append(_average_precision(positives, negatives, yes, no))
    return percentiles(np.concatenate(values))


def average_precision_floor(positives: int, negatives: int) -> float | None:
    """Returns the AUPRC of equal values: the share of positives."""
    return positives / (positives + negatives) if positives and negatives else None


def f1(positives: Bool[np.ndarray, " positives"], negatives: Bool[np.ndarray, " negatives"]) -> float | None:
    """Returns the harmonic mean of precision and recall of the answers (True is yes); 0 when none of them is yes.

    None when there are no positives or no negatives.
    """
    if positives.size == 0 or negatives.size == 0:
        return None
    hits = np.asarray([positives.sum()])
    return float(_f1(hits, np.asarray([negatives.sum()]), positives.size)[0])


def f1_interval(
    positives: Bool[np.ndarray, " positives"],
    negatives: Bool[np.ndarray, " negatives"],
    seed: int,
    resample_count: int,
) -> Interval | None:
    """Bootstrap over examples, positives and negatives resampled apart: answers of a kind are binomial."""
    if min(positives.size, negatives.size) < 2:
        return None
    rng = np.random.Generator(np.random.PCG64(seed))
    hits = rng.binomial(positives.size, positives.mean(), resample_count)
    false = rng.binomial(negatives.size, negatives.mean(), resample_count)
    return percentiles(_f1(hits, false, positives.size))


def f1_floor(positives: int, negatives: int) -> float | None:
    """Returns the F1 of the better constant answer, yes: 2 s / (1 + s), where s is the share of positives."""
    share = average_precision_floor(positives, negatives)
    return None if share is None else 2.0 * share / (1.0 + share)


def _f1(hits: Int[np.ndarray, " n"], false: Int[np.ndarray, " n"], positives: int) -> Float[np.ndarray, " n"]:
    return 2.0 * hits / (hits + false + positives)


def _average_precision(
    positives: Float[np.ndarray, " positives"],
    negatives: Float[np.ndarray, " negatives"],
    yes: Int[np.ndarray, "resamples positives"],
    no: Int[np.ndarray, "resamples negatives"],
) -> Float[np.ndarray, " resamples"]:
    values = np.concatenate([positives, negatives])
    order = np.argsort(-values, kind="stable")
    ends = np.flatnonzero(np.diff(values[order], append=np.nan) != 0)  # the last of each run of equal values
    hits = np.cumsum(np.concatenate([yes, np.zeros_like(no)], axis=1)[:, order], axis=1)[:, ends]
    all_ = np.cumsum(np.concatenate([yes, no], axis=1)[:, order], axis=1)[:, ends]
    gains = np.diff(hits, axis=1, prepend=0) / positives.size
    return (gains * hits / np.maximum(all_, 1)).sum(axis=1)
