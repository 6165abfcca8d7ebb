"""The numbers of a whole run: means over latents with intervals, and every denominator."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dragoman.ids import Json, derived_seed

from scorer.core.judgement import ANSWERED, SCORE
from scorer.core.metrics import FLOOR, constant_answer_accuracy, mean_interval

_TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens")


@dataclass(slots=True)
class Tally:
    """Counts over questions, filled in table by table."""

    outcomes: Counter[str] = field(default_factory=Counter[str])
    tokens: Counter[str] = field(default_factory=Counter[str])
    types: Counter[str] = field(default_factory=Counter[str])
    """Questions of the score arm, by type."""
    labels: Counter[bool] = field(default_factory=Counter[bool])
    """Answered questions of the score arm, by the right answer."""
    with_probability: int = 0

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Counts rows of examples.parquet."""
        for row in rows:
            self.outcomes[row["outcome"]] += 1
            self.with_probability += row["p_yes"] is not None
            for name in _TOKENS:
                self.tokens[name] += row[name]
            if row["arm"] == SCORE:
                self.types[row["type"]] += 1
                self.labels[row["label"]] += row["outcome"] == ANSWERED

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
    latents: Sequence[Mapping[str, Any]], tally: Tally, seed: int, resample_count: int, null_count: int
) -> dict[str, Json]:
    """Returns the statistics that follow from the rows of latents.parquet and the tally.

    `notes` says why a number is missing, where one is.
    """
    names = ("auroc", "balanced_accuracy", "null_auroc", "null_balanced_accuracy")
    means: dict[str, Json] = {name: _mean(latents, name, seed, resample_count) for name in names}
    answered = tally.outcomes[ANSWERED]
    return {
        "floor": FLOOR,
        **means,
        "attempted": len(latents),
        "scored": sum(row["balanced_accuracy"] is not None for row in latents),
        "question_count": tally.question_count,
        "answered_count": answered,
        "failed_by_outcome": dict(tally.failed),
        "question_count_by_type": dict(sorted(tally.types.items())),
        "constant_answer_accuracy": constant_answer_accuracy(tally.labels[True], tally.labels[False]),
        **{name: tally.tokens[name] for name in _TOKENS},
        "notes": list(_notes(latents, tally, null_count)),
    }


def _mean(latents: Sequence[Mapping[str, Any]], name: str, seed: int, resample_count: int) -> dict[str, Json]:
    values = np.asarray([row[name] for row in latents if row[name] is not None], np.float64)
    interval = mean_interval(values, derived_seed("latents", name, seed), resample_count)
    return {
        "mean": float(values.mean()) if values.size else None,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "n": int(values.size),
    }


def _notes(latents: Sequence[Mapping[str, Any]], tally: Tally, null_count: int) -> list[str]:
    notes: list[str] = []
    if tally.outcomes[ANSWERED] and not tally.with_probability:
        notes.append("AUROC is null: the engine told no log-probabilities")
    explained = sum(row["explanation"] is not None for row in latents)
    if not null_count:
        notes.append("the shuffled-label null is absent: null_count is 0")
    elif explained < 2:
        notes.append(f"the shuffled-label null is absent: it takes two explained latents, there are {explained}")
    without = sum(row["explanation"] is not None and row["balanced_accuracy"] is None for row in latents)
    if without:
        notes.append(f"{without} explained latent(s) have no score: no usable windows or answers of one label")
    return notes
