"""What a training run was like, step by step."""

from collections.abc import Sequence
from typing import NamedTuple

_TAIL = 10
"""A run's figures are means over its last tenth."""


class Point(NamedTuple):
    """One step. All but the counts were measured on the step's batch before the weights changed."""

    step: int
    """Counted from 1."""
    token_count: int
    """Tokens trained on so far, this step's included."""
    fvu: float
    l0: float
    dead_fraction: float
    loss: float
    learning_rate: float


class CurveEnd(NamedTuple):
    """Means over the last tenth of the steps."""

    fvu: float
    l0: float
    dead_fraction: float


def curve_end(points: Sequence[Point]) -> CurveEnd:
    """Returns what the statistics of a coder say; at least one point is needed."""
    tail = points[-max(1, len(points) // _TAIL) :]
    return CurveEnd(*(sum(getattr(p, name) for p in tail) / len(tail) for name in CurveEnd._fields))
