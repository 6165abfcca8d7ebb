"""What a report shows beside the scorecard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scorer.core.charts_curve import Curve
from scorer.core.charts_distribution import ScoredLatent
from scorer.core.scorecard import ScorerCard
from scorer.core.scorecard_side import Scorecard


@dataclass(frozen=True, slots=True)
class TextWindow:
    """A stretch of text with the latent's activation on each token."""

    tokens: Sequence[str]
    activations: Sequence[float]
    document: int
    split: str
    shown: bool = False
    """Whether the explainer saw it."""
    marked: Sequence[bool] = ()
    """The tokens that the judge saw marked; empty where none were."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A window on which the judge was wrong."""

    scorer: str
    type: str
    label: bool
    """The right answer."""
    p_yes: float | None
    window: TextWindow


@dataclass(frozen=True, slots=True)
class LatentView:
    """One latent of one side."""

    side: str
    latent: int
    rank: int
    firing_count: int
    density: float
    max_activation: float
    explanation: str | None
    outcome: str
    reason: str
    scores: Mapping[str, Mapping[str, Any]]
    """Scorer to the latent's row of latents.parquet."""
    windows: Sequence[TextWindow]
    window_count: int
    """How many there are in the tables."""
    mistakes: Sequence[Mistake]
    mistake_count: int

    @property
    def key(self) -> str:
        """Id of the latent's card on the page."""
        return card_key(self.side, self.latent)


UNBOUNDED = frozenset({"log_prob_change"})
"""Metrics that do not end at 1."""


@dataclass(frozen=True, slots=True)
class Ancestor:
    """An artifact from which the scorecard was made."""

    id: str
    kind: str
    roles: Sequence[str]
    """Where the spec names it; empty for inputs of inputs."""
    inputs: Sequence[str]
    version: int


@dataclass(frozen=True, slots=True)
class Report:
    """Everything on the page."""

    card: Scorecard
    points: Mapping[str, Mapping[str, Sequence[ScoredLatent]]]
    """Scorer, then side, to its latents under the headline metric."""
    latents: Sequence[LatentView]
    latent_count: int
    """Attempted latents of both sides, shown or not."""
    curves: Mapping[str, Curve]
    ancestors: Sequence[Ancestor]
    software: Mapping[str, str] = field(default_factory=dict[str, str])


def score_range(report: Report, scorer: ScorerCard) -> tuple[float, float]:
    """Returns the ends of the axis of a scorer's charts. All whose scores end at 1 share one."""
    alone = scorer.headline in UNBOUNDED
    alike = [scorer] if alone else [s for s in report.card.scorers.values() if s.headline not in UNBOUNDED]
    estimates = [e for s in alike for side in s.verdict.sides.values() for e in (side.score, side.shuffled)]
    bounds = [bound for e in estimates for bound in (e.low, e.high) if bound is not None]
    dots = [point.value for s in alike for found in report.points[s.scorer].values() for point in found]
    values = [*dots, *bounds, *(s.verdict.floor for s in alike)]
    low = min(values, default=0.5)
    return (low, max(values)) if alone else (min(0.3, max(-1.0, low)), 1.0)


def card_key(side: str, latent: int) -> str:
    """Returns the id of a latent's card."""
    return f"{side}-{latent}"
