"""Questions in the order in which they are put: all at once, or some of each latent at a time until it is decided."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from scorer.core.judgement import ANSWERED, SCORE, Question, Verdict, example_row
from scorer.core.stopping import ALL, StoppingRule

Row = Mapping[str, object]


@dataclass(slots=True)
class _Latent:
    """What was asked about one latent."""

    questions: Sequence[Question]
    """Those of the score arm."""
    nulls: Sequence[Question]
    asked: int = 0
    stopped: str | None = None
    rows: dict[int, Row] = field(default_factory=dict[int, Row])
    """By place among questions, then nulls."""

    def values(self, label: bool) -> np.ndarray:
        """What ranks the answered examples of a label."""
        rows = [row for row in self.rows.values() if row["label"] is label and row["outcome"] == ANSWERED]
        return np.asarray([row["value"] for row in rows if row["value"] is not None], np.float64)


class Turns:
    """The questions of a task. Which are put depends on answers, never on the order in which they come."""

    def __init__(self, asked: Sequence[tuple[int, Sequence[Question]]], rule: StoppingRule | None) -> None:
        self._rule = rule
        self._latents = {
            latent: _Latent([q for q in own if q.arm == SCORE], [q for q in own if q.arm != SCORE])
            for latent, own in asked
        }
        self._nulls_put = False

    @property
    def count(self) -> int:
        """Questions that may be put."""
        return sum(len(own.questions) + len(own.nulls) for own in self._latents.values())

    @property
    def answered(self) -> int:
        """Verdicts so far."""
        return sum(len(own.rows) for own in self._latents.values())

    @property
    def rows(self) -> list[Row]:
        """Rows of examples.parquet of what was put, latent by latent."""
        return [own.rows[place] for own in self._latents.values() for place in sorted(own.rows)]

    @property
    def stopped(self) -> dict[str, list[str | int]]:
        """By latent: why judging stopped, and how many examples there were."""
        return {str(j): [own.stopped or ALL, len(own.questions)] for j, own in self._latents.items()}

    def batch(self) -> list[tuple[int, int, Question]]:
        """Returns the next questions, each with its latent and place; none when there is nothing left to ask."""
        found: list[tuple[int, int, Question]] = []
        for latent, own in self._latents.items():
            if own.stopped is None and own.asked < len(own.questions):
                size = self._rule.batch if self._rule else len(own.questions)
                end = min(own.asked + size, len(own.questions))
                found += [(latent, place, own.questions[place]) for place in range(own.asked, end)]
                own.asked = end
        if found and self._rule:
            return found
        return found + self._nulls()

    def add(self, latent: int, place: int, question: Question, verdict: Verdict) -> None:
        """Takes a verdict."""
        self._latents[latent].rows[place] = example_row(question, verdict)

    def look(self) -> None:
        """Stops the latents of which enough is known."""
        if self._rule is None:
            return
        for own in self._latents.values():
            if own.stopped is None and own.asked < len(own.questions):
                looks = self._rule.looks(len(own.questions))
                own.stopped = self._rule.verdict(own.values(True), own.values(False), looks)

    def _nulls(self) -> list[tuple[int, int, Question]]:
        """The null is of the examples that were judged."""
        if self._nulls_put:
            return []
        self._nulls_put = True
        found: list[tuple[int, int, Question]] = []
        for latent, own in self._latents.items():
            judged = {question.placed.index for question in own.questions[: own.asked]}
            first = len(own.questions)
            found += [(latent, first + i, q) for i, q in enumerate(own.nulls) if q.placed.index in judged]
        return found
