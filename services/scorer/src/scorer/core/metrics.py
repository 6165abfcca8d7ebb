"""How well a judge's answers tell activating windows from others, and how sure that is."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

FLOOR = 0.5
"""What a judge gets, on AUROC and on balanced accuracy, that always says the same or that guesses."""

_CHUNK = 2_048


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided 95% percentile interval."""

    low: float
    high: float


def comparisons(
    positives: Float[np.ndarray, " positives"], negatives: Float[np.ndarray, " negatives"]
) -> Float[np.ndarray, "positives negatives"]:
    """Returns 1 where the positive scores higher than the negative, 1/2 where they tie, 0 elsewhere."""
    difference = positives[:, None] - negatives[None, :]
    return (np.sign(difference) + 1.0) / 2.0


def auroc(positives: Float[np.ndarray, " positives"], negatives: Float[np.ndarray, " negatives"]) -> float | None:
    """Returns the share of (positive, negative) pairs in the right order, ties counted half: Mann-Whitney's U over n*m.

    None when there are no positives or no negatives.
    """
    if positives.size == 0 or negatives.size == 0:
        return None
    return float(comparisons(positives, negatives).mean())


def balanced_accuracy(
    positives: Bool[np.ndarray, " positives"], negatives: Bool[np.ndarray, " negatives"]
) -> float | None:
    """Returns the mean of the share of positives answered yes and the share of negatives answered no.

    Both arrays hold the answers (True is yes). None when there are no positives or no negatives.
    """
    if positives.size == 0 or negatives.size == 0:
        return None
    return float((positives.mean() + (1.0 - negatives.mean())) / 2.0)


def auroc_interval(
    positives: Float[np.ndarray, " positives"],
    negatives: Float[np.ndarray, " negatives"],
    seed: int,
    resample_count: int,
) -> Interval | None:
    """Bootstrap over examples, positives and negatives resampled apart. None with fewer than two of either.

    Resampling is by counts: the AUROC of a resample is the mean of the comparison matrix under the counts.
    """
    if min(positives.size, negatives.size) < 2:
        return None
    table = comparisons(positives, negatives)
    rng = np.random.Generator(np.random.PCG64(seed))
    values = [_resampled_auroc(table, rng, min(_CHUNK, resample_count - done)) for done in _chunks(resample_count)]
    return percentiles(np.concatenate(values))


def balanced_accuracy_interval(
    positives: Bool[np.ndarray, " positives"],
    negatives: Bool[np.ndarray, " negatives"],
    seed: int,
    resample_count: int,
) -> Interval | None:
    """Bootstrap over examples, positives and negatives resampled apart. None with fewer than two of either.

    The number of right answers in a resample of n is binomial, so it is drawn as such.
    """
    if min(positives.size, negatives.size) < 2:
        return None
    rng = np.random.Generator(np.random.PCG64(seed))
    yes = rng.binomial(positives.size, positives.mean(), resample_count) / positives.size
    no = rng.binomial(negatives.size, 1.0 - negatives.mean(), resample_count) / negatives.size
    return percentiles((yes + no) / 2.0)


def mean_interval(values: Float[np.ndarray, " values"], seed: int, resample_count: int) -> Interval | None:
    """Bootstrap over values (latents). None with fewer than two."""
    if values.size < 2:
        return None
    rng = np.random.Generator(np.random.PCG64(seed))
    size = max(1, 1_000_000 // values.size)
    means = [
        values[rng.integers(0, values.size, (min(size, resample_count - done), values.size))].mean(axis=1)
        for done in range(0, resample_count, size)
    ]
    return percentiles(np.concatenate(means))


def constant_answer_accuracy(counts: Mapping[int, int]) -> float | None:
    """Returns the plain accuracy of the best constant answer: what an unbalanced design gives away for nothing.

    counts: right answer to the number of questions.
    """
    total = sum(counts.values())
    return max(counts.values()) / total if total else None


def _chunks(resample_count: int) -> range:
    return range(0, resample_count, _CHUNK)


def _resampled_auroc(
    table: Float[np.ndarray, "positives negatives"], rng: np.random.Generator, count: int
) -> Float[np.ndarray, " count"]:
    positives, negatives = resampled_counts(rng, table.shape[0], count), resampled_counts(rng, table.shape[1], count)
    wins = ((positives @ table) * negatives).sum(axis=1)
    return wins / (table.shape[0] * table.shape[1])


def resampled_counts(rng: np.random.Generator, size: int, count: int) -> Int[np.ndarray, "count size"]:
    """Returns how often each of `size` examples is in each of `count` resamples."""
    return rng.multinomial(size, np.full(size, 1.0 / size), size=count)


def percentiles(values: Float[np.ndarray, " resamples"]) -> Interval:
    """Returns the two-sided 95% percentile interval."""
    low, high = np.percentile(values, (2.5, 97.5))
    return Interval(float(low), float(high))
