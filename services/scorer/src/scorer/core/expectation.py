"""The expected value of a number that is one digit, from the likeliest tokens."""

import math
from collections.abc import Sequence
from typing import Protocol

from scorer.core.prompts_simulation import DIGITS


class Candidate(Protocol):
    """A token with its natural log-probability."""

    @property
    def token(self) -> str:
        """Its text."""
        ...

    @property
    def logprob(self) -> float:
        """Its natural log-probability."""
        ...


def expected_digit(candidates: Sequence[Candidate]) -> float | None:
    """Returns the mean of the digits among the candidates, weighted by probability. None where there is none."""
    weights = [(int(c.token.strip()), math.exp(c.logprob)) for c in candidates if c.token.strip() in DIGITS]
    total = sum(weight for _, weight in weights)
    return sum(digit * weight for digit, weight in weights) / total if total > 0.0 else None
