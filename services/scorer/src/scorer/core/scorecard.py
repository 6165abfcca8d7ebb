"""The verdicts: scores of a trained run against those of its control, each with its nulls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from scorer.core.measures import METRICS
from scorer.core.metrics import FLOOR
from scorer.core.scorecard_statistics import (
    Estimate,
    PermutationTest,
    Resampling,
    compare,
    mean_estimate,
    permutation_test,
)

TRAINED = "trained"
CONTROL = "control"
SIDES = (TRAINED, CONTROL)
_OLD_METRICS = ("auroc", "balanced_accuracy")
"""Of a scores artifact that does not name its own."""
MINIMUM_LATENTS = 5
"""With fewer latents (or pairs) than this, no verdict is given."""
_PAIRED_SHARE = 0.5

Statistics = Mapping[str, Any]


class Verdict(StrEnum):
    """Whether an interval of a difference leaves out 0."""

    YES = "yes"
    NO = "no"
    TOO_FEW = "too few latents to tell"


@dataclass(frozen=True, slots=True)
class Scores:
    """What a scores artifact says: latents.parquet and the manifest's statistics."""

    latents: pa.Table
    statistics: Statistics


@dataclass(frozen=True, slots=True)
class SideScore:
    """One side under one metric: means over latents."""

    score: Estimate
    shuffled: Estimate
    """The same latents judged with other latents' explanations."""
    above_shuffled: Estimate
    """Mean of the latents' differences, score minus shuffled."""
    distinguishable_from_shuffled: Verdict


@dataclass(frozen=True, slots=True)
class Comparison:
    """Trained minus control under one metric."""

    paired: bool
    """By rank of firing count; otherwise all latents of both sides."""
    trained_count: int
    control_count: int
    difference: Estimate
    cliffs_delta: Estimate
    hedges_g: Estimate
    permutation: PermutationTest | None
    distinguishable_from_control: Verdict


@dataclass(frozen=True, slots=True)
class MetricCard:
    """One metric of one scorer."""

    metric: str
    floor: float
    sides: Mapping[str, SideScore]
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class Questions:
    """What was asked of the judge on one side, and what it cost."""

    scored: int
    asked: int
    answered: int
    failed_by_outcome: Mapping[str, int]
    constant_answer_accuracy: float | None
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class ScorerCard:
    """One scorer."""

    scorer: str
    judge: str
    headline: str
    """The metric that the verdict is about: the scorer's first, or the next where the judge told no probabilities."""
    metrics: Mapping[str, MetricCard]
    questions: Mapping[str, Questions]

    @property
    def verdict(self) -> MetricCard:
        """The card of the headline metric."""
        return self.metrics[self.headline]


def scorer_card(trained: Scores, control: Scores, how: Resampling) -> ScorerCard:
    """Compares two scores artifacts of one scorer."""
    scorer = str(trained.statistics["scorer"])
    names = [name for name in trained.statistics.get("metrics", _OLD_METRICS) if name in METRICS]
    metrics = {name: _metric_card(scorer, name, trained, control, how) for name in names}
    known = [name for name in names if all(metrics[name].sides[side].score.n for side in SIDES)]
    return ScorerCard(
        scorer,
        str(trained.statistics.get("model", "")),
        known[0] if known else names[0],
        metrics,
        {TRAINED: _questions(trained.statistics), CONTROL: _questions(control.statistics)},
    )


def verdict_of(difference: Estimate) -> Verdict:
    """YES when the interval leaves out 0, in either direction."""
    if difference.n < MINIMUM_LATENTS or difference.low is None or difference.high is None:
        return Verdict.TOO_FEW
    return Verdict.YES if difference.low > 0.0 or difference.high < 0.0 else Verdict.NO


def _metric_card(scorer: str, metric: str, trained: Scores, control: Scores, how: Resampling) -> MetricCard:
    floor = trained.statistics.get("floors", {}).get(metric)
    return MetricCard(
        metric,
        FLOOR if floor is None else float(floor),
        {
            TRAINED: _side_score(TRAINED, scorer, metric, trained.latents, how),
            CONTROL: _side_score(CONTROL, scorer, metric, control.latents, how),
        },
        _comparison(scorer, metric, trained.latents, control.latents, how),
    )


def _side_score(side: str, scorer: str, metric: str, latents: pa.Table, how: Resampling) -> SideScore:
    own, null = _column(latents, metric), _column(latents, f"null_{metric}")
    name = (scorer, metric, side)
    above = mean_estimate(_known(own - null), how, "above shuffled", *name)
    return SideScore(
        mean_estimate(_known(own), how, "score", *name),
        mean_estimate(_known(null), how, "shuffled", *name),
        above,
        verdict_of(above),
    )


def _comparison(scorer: str, metric: str, trained: pa.Table, control: pa.Table, how: Resampling) -> Comparison:
    by_rank = (_by_rank(trained, metric), _by_rank(control, metric))
    common = sorted(by_rank[0].keys() & by_rank[1].keys())
    paired = len(common) >= max(MINIMUM_LATENTS, _PAIRED_SHARE * max(map(len, by_rank)))
    if paired:
        a, b = (np.asarray([ranks[r] for r in common], np.float64) for ranks in by_rank)
    else:
        a, b = _known(_column(trained, metric)), _known(_column(control, metric))
    effects = compare(a, b, paired, how, scorer, metric)
    return Comparison(
        paired,
        int(a.size),
        int(b.size),
        effects.difference,
        effects.cliffs_delta,
        effects.hedges_g,
        permutation_test(a, b, paired, how, scorer, metric),
        verdict_of(effects.difference),
    )


def _by_rank(latents: pa.Table, metric: str) -> dict[int, float]:
    pairs = zip(latents["rank"].to_pylist(), latents[metric].to_pylist(), strict=True)
    return {rank: value for rank, value in pairs if rank is not None and value is not None}


def _column(latents: pa.Table, name: str) -> Float[np.ndarray, " latents"]:
    """Returns a column with NaN for null."""
    values: Sequence[float | None] = latents[name].to_pylist()
    return np.asarray([np.nan if value is None else value for value in values], np.float64)


def _known(values: Float[np.ndarray, " latents"]) -> Float[np.ndarray, " known"]:
    return values[np.isfinite(values)]


def _questions(statistics: Statistics) -> Questions:
    tokens = (int(statistics.get(name, 0)) for name in ("prompt_tokens", "cached_tokens", "completion_tokens"))
    return Questions(
        int(statistics["scored"]),
        int(statistics["question_count"]),
        int(statistics["answered_count"]),
        dict(statistics["failed_by_outcome"]),
        statistics.get("constant_answer_accuracy"),
        *tokens,
    )
