"""The numbers of a whole run: means over latents with intervals, and every denominator."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dragoman.ids import Json, derived_seed

from scorer.core.judgement import ANSWERED, SCORE
from scorer.core.latent_score import Scoring
from scorer.core.measures import METRICS, TRIALS, YES_OR_NO
from scorer.core.metrics import constant_answer_accuracy, mean_interval

_TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens")


@dataclass(slots=True)
class Tally:
    """Counts over questions, filled in table by table."""

    form: str
    """One of `measures.FORMS`."""
    outcomes: Counter[str] = field(default_factory=Counter[str])
    tokens: Counter[str] = field(default_factory=Counter[str])
    types: Counter[str] = field(default_factory=Counter[str])
    """Questions of the score arm, by type."""
    right: Counter[int] = field(default_factory=Counter[int])
    """Answered questions of the score arm, by the right answer: 1 for yes, or the place of the right choice."""
    with_value: int = 0
    choices: int = 0
    """Answers of the score arm that chose something."""

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Counts rows of examples.parquet."""
        for row in rows:
            self.outcomes[row["outcome"]] += 1
            self.with_value += row["value"] is not None or row["predicted"] is not None
            self.choices += row["choice"] is not None
            for name in _TOKENS:
                self.tokens[name] += row[name]
            if row["arm"] == SCORE:
                self.types[row["type"]] += 1
                right = row["place"] if self.form == TRIALS else int(row["label"])
                self.right[right] += row["outcome"] == ANSWERED

    @property
    def question_count(self) -> int:
        """Questions asked, of both arms."""
        return self.outcomes.total()

    @property
    def failed(self) -> dict[str, int]:
        """Questions without a usable answer, by outcome."""
        return {name: count for name, count in sorted(self.outcomes.items()) if name != ANSWERED and count}

    @property
    def failed_count(self) -> int:
        """Questions without a usable answer."""
        return sum(self.failed.values())


def statistics(
    latents: Sequence[Mapping[str, Any]], tally: Tally, how: Scoring, null_count: int, label_free: bool
) -> dict[str, Json]:
    """Returns the statistics that follow from the rows of latents.parquet and the tally.

    `notes` says why a number is missing, where one is.
    """
    names = [name for metric in METRICS if metric in how.measures for name in (metric, f"null_{metric}")]
    means: dict[str, Json] = {name: _mean(latents, name, how.seed, how.resample_count) for name in names}
    floors: dict[str, Json] = {metric: _floor(latents, metric) for metric in how.measures}
    answered = tally.outcomes[ANSWERED]
    return {
        "metrics": list(how.measures),
        "floor": floors[next(iter(how.measures))],
        "floors": floors,
        **means,
        "attempted": len(latents),
        "scored": sum(any(row[metric] is not None for metric in how.measures) for row in latents),
        "question_count": tally.question_count,
        "answered_count": answered,
        "failed_by_outcome": dict(tally.failed),
        "question_count_by_type": dict(sorted(tally.types.items())),
        "constant_answer_accuracy": constant_answer_accuracy(tally.right) if how.form in YES_OR_NO | {TRIALS} else None,
        **{name: tally.tokens[name] for name in _TOKENS},
        "notes": list(_notes(latents, tally, null_count, label_free)),
    }


def _floor(latents: Sequence[Mapping[str, Any]], metric: str) -> float | None:
    floors = [row[f"{metric}_floor"] for row in latents if row[metric] is not None]
    return math.fsum(floors) / len(floors) if floors else None


def _mean(latents: Sequence[Mapping[str, Any]], name: str, seed: int, resample_count: int) -> dict[str, Json]:
    values = np.asarray([row[name] for row in latents if row[name] is not None], np.float64)
    interval = mean_interval(values, derived_seed("latents", name, seed), resample_count)
    return {
        "mean": float(values.mean()) if values.size else None,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "n": int(values.size),
    }


def _notes(latents: Sequence[Mapping[str, Any]], tally: Tally, null_count: int, label_free: bool) -> Iterator[str]:
    if tally.choices and not tally.with_value:
        yield "AUROC is null: the engine told no log-probabilities"
    explained = sum(row["explanation"] is not None for row in latents)
    if not null_count:
        yield (
            "the null is absent: null_count is 0"
            if label_free
            else ("the shuffled-label null is absent: null_count is 0")
        )
    elif explained < 2 and not label_free:
        yield f"the shuffled-label null is absent: it takes two explained latents, there are {explained}"
    asked = len(latents) if label_free else explained
    without = asked - sum(any(row[metric] is not None for metric in METRICS) for row in latents)
    if without:
        what = "latent(s) have" if label_free else "explained latent(s) have"
        yield f"{without} {what} no score: no usable windows or answers of one label"
