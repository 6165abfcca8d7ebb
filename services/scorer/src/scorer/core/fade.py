"""Measures of FADE (2502.16994): clarity, responsiveness, purity, faithfulness, with intervals.

Of written texts against natural ones (clarity is their separation), and of examples that a judge rated yes or no. A
judge that always says the same gets exactly the floor of each.
"""

import numpy as np
from jaxtyping import Bool, Float

from scorer.core import precision
from scorer.core.metrics import Interval, auroc, auroc_interval, percentiles


def separation(higher: Float[np.ndarray, " higher"], lower: Float[np.ndarray, " lower"]) -> float | None:
    """Returns 2 AUROC - 1 (Gini). None without either."""
    area = auroc(higher, lower)
    return None if area is None else 2.0 * area - 1.0


def separation_interval(
    higher: Float[np.ndarray, " higher"], lower: Float[np.ndarray, " lower"], seed: int, resample_count: int
) -> Interval | None:
    """As `auroc_interval`."""
    found = auroc_interval(higher, lower, seed, resample_count)
    return None if found is None else Interval(2.0 * found.low - 1.0, 2.0 * found.high - 1.0)


def responsiveness(rated: Float[np.ndarray, " rated"], others: Float[np.ndarray, " others"]) -> float | None:
    """Returns how far activations of windows rated yes lie above those of the others: their separation.

    FADE takes the absolute value, which a judge that guesses would not have 0 of. 0 where all are rated alike; None
    where nothing is rated.
    """
    return separation(rated, others) or 0.0 if rated.size + others.size else None


def purity(rated: Float[np.ndarray, " rated"], others: Float[np.ndarray, " others"]) -> float | None:
    """Returns the average precision of activations for windows rated yes: how few others fire as strongly.

    Where all are rated alike it is their share of yes, 0 or 1. None where nothing is rated.
    """
    found = precision.average_precision(rated, others)
    return purity_floor(rated.size, others.size) if found is None else found


def purity_floor(rated: int, others: int) -> float | None:
    """Returns the purity of equal activations: the share rated yes."""
    return rated / (rated + others) if rated + others else None


def faithfulness(steered: Bool[np.ndarray, " steered"], clean: Bool[np.ndarray, " clean"]) -> float | None:
    """Returns (c - c_0) / (1 - c_0): what part of the texts that did not match does so once the latent is turned up.

    c and c_0 are the shares of steered and of clean texts rated yes; 0 where all clean ones are. FADE takes the best of
    seven strengths, and 0 at least: a judge that guesses would be above 0. None without a text of either kind.
    """
    if steered.size == 0 or clean.size == 0:
        return None
    return float(_gain(np.asarray([steered.mean()]), np.asarray([clean.mean()]))[0])


def faithfulness_interval(
    steered: Bool[np.ndarray, " steered"], clean: Bool[np.ndarray, " clean"], seed: int, resample_count: int
) -> Interval | None:
    """Bootstrap over texts, steered and clean apart: answers of a kind are binomial. None with fewer than two."""
    if min(steered.size, clean.size) < 2:
        return None
    rng = np.random.Generator(np.random.PCG64(seed))
    after = rng.binomial(steered.size, steered.mean(), resample_count) / steered.size
    before = rng.binomial(clean.size, clean.mean(), resample_count) / clean.size
    return percentiles(_gain(after, before))


def _gain(after: Float[np.ndarray, " n"], before: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    room = 1.0 - before
    return np.divide(after - before, room, out=np.zeros_like(after), where=room > 0.0)
