"""When enough examples of a latent have been judged: a sequential rule with a stated error rate."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float

from scorer.core.metrics import Interval, auroc

WIDTH, ABOVE, BELOW, ALL = "width", "above", "below", "all"
"""Why judging stopped: the interval is narrow enough, lies above or below the threshold, or there is nothing left."""
_STEPS = 40


@dataclass(frozen=True, slots=True)
class StoppingRule:
    """Looks at a latent's answers after every `batch` examples."""

    batch: int
    width: float | None
    """Stops when the interval of AUROC, at a confidence of 1 - error_rate, is narrower."""
    threshold: float | None
    """Stops when the interval of a look lies on one side of it."""
    error_rate: float
    """Probability that a latent is put on the wrong side of the threshold, over all looks: each has a part of it."""

    def looks(self, example_count: int) -> int:
        """Returns how often a latent with so many examples is looked at."""
        return max(1, math.ceil(example_count / self.batch))

    def verdict(self, yes: Float[np.ndarray, " yes"], no: Float[np.ndarray, " no"], looks: int) -> str | None:
        """Returns why to stop, None to go on. `looks`: how many there will be of this latent."""
        value = auroc(yes, no)
        if value is None:
            return None
        z = _z(self.error_rate / looks)
        # The same as asking whether the interval of AUROC leaves out the threshold.
        if self.threshold is not None and _rejected(value, self.threshold, yes.size, no.size, z):
            return ABOVE if value > self.threshold else BELOW
        if self.width is not None:
            found = auroc_score_interval(value, yes.size, no.size, self.error_rate)
            if found.high - found.low < self.width:
                return WIDTH
        return None


def auroc_score_interval(value: float, positives: int, negatives: int, error_rate: float) -> Interval:
    """Returns Newcombe's interval for an AUROC (2006, method 5): all values that a score test would not reject.

    The test's variance is Hanley and McNeil's. Unlike a bootstrap it has width where every pair is in order.
    """
    z = _z(error_rate)

    def rejected(theta: float) -> bool:
        return _rejected(value, theta, positives, negatives, z)

    return Interval(_edge(value, 0.0, rejected), _edge(value, 1.0, rejected))


def _z(error_rate: float) -> float:
    return -NormalDist().inv_cdf(error_rate / 2.0)


def _rejected(value: float, theta: float, positives: int, negatives: int, z: float) -> bool:
    return abs(value - theta) > z * math.sqrt(_variance(theta, positives, negatives))


def _variance(theta: float, positives: int, negatives: int) -> float:
    size = (positives + negatives) / 2.0 - 1.0
    spread = 1.0 + size * (1.0 - theta) / (2.0 - theta) + size * theta / (1.0 + theta)
    return theta * (1.0 - theta) * spread / (positives * negatives)


def _edge(inside: float, outside: float, rejected: Callable[[float], bool]) -> float:
    """Bisects for where the test begins to reject, from a value that it does not."""
    if not rejected(outside):
        return outside
    for _ in range(_STEPS):
        middle = (inside + outside) / 2.0
        inside, outside = (inside, middle) if rejected(middle) else (middle, outside)
    return inside


def saving(asked: Sequence[int], available: Sequence[int]) -> float:
    """Returns the share of the examples that did not have to be judged."""
    return 1.0 - sum(asked) / max(sum(available), 1)
