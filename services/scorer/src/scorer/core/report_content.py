"""What a report shows beside the scorecard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scorer.core.charts_curve import Curve
from scorer.core.charts_distribution import ScoredLatent
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


def lowest_score(report: Report) -> float:
    """Returns the lowest score that any chart shows, so that all charts can share one axis."""
    sides = [side for scorer in report.card.scorers.values() for side in scorer.verdict.sides.values()]
    bounds = [estimate.low for side in sides for estimate in (side.score, side.shuffled)]
    dots = [point.value for found in report.points.values() for side in found.values() for point in side]
    floors = [scorer.verdict.floor for scorer in report.card.scorers.values()]
    return min([*dots, *floors, *(low for low in bounds if low is not None)], default=0.5)


def card_key(side: str, latent: int) -> str:
    """Returns the id of a latent's card."""
    return f"{side}-{latent}"
