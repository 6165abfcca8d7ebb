"""Fuzzing: are the marked tokens of this window those that activate the latent? (2410.13928, section 4.)

`wrong_marks`: negatives are activating windows with the true marks of another window on them. (Paulo et al.'s blog, and
delphi's `active`, mark other tokens of activating windows, drawn at random.) `silent_marks`: negatives are silent
windows with the true marks of an activating one on them; delphi's default, which marks always the same positions.
"""

import numpy as np
from dragoman.ids import derived_seed

from scorer.core.examples import ACTIVE, RANDOM, WRONG_MARKS, Example
from scorer.core.judgement import ANSWERS
from scorer.core.marks import exchanged_marks, true_marks
from scorer.core.measures import LABELLED
from scorer.core.prompts import fuzzing_prefix, marked_text, question
from scorer.core.requests import Choice, Request
from scorer.core.scorers.method import Counts, Drawn, Least, Pieces


class Fuzzing:
    """The same windows with their own marks and with each other's.

    A window whose marks fit on no other window, or that no other's marks fit on, is in neither class.
    """

    name = "fuzzing"
    version = "fuzzing-wrong_marks-1"
    prefix = fuzzing_prefix()
    form = LABELLED
    choices = 2
    needs = frozenset[str]()
    label_free = False
    negative_types = frozenset[str]()
    rivals = 0
    least = Least(active=2)
    """Marks are exchanged between two windows."""

    def active_needed(self, counts: Counts) -> int:
        """See Method.active_needed."""
        return max(counts.active, counts.inactive)

    def silent_needed(self, counts: Counts, null_count: int) -> int:
        """See Method.silent_needed."""
        return 0

    def examples(self, drawn: Drawn, counts: Counts, seed: int) -> list[Example]:
        """See Method.examples."""
        if not drawn.active:
            return []
        activations = np.stack([w.activations for w in drawn.active])
        marks = true_marks(activations)
        source = exchanged_marks(activations, marks, derived_seed("marks", seed, drawn.latent))
        usable = np.flatnonzero(source != np.arange(len(source)))
        # With equal counts both classes are all usable windows; else the first of them, in the seeded order of `drawn`.
        return [self._right(drawn, marks, int(i)) for i in usable[: counts.active]] + [
            self._wrong(drawn, marks, int(i), int(source[i])) for i in usable[: counts.inactive]
        ]

    def null_examples(self, drawn: Drawn, counts: Counts, seed: int, count: int) -> list[Example]:
        """See Method.null_examples."""
        return []

    def request(self, example: Example, explanation: str, pieces: Pieces) -> Request:
        """See Method.request."""
        text = marked_text(pieces(example.window), example.marks)
        return Choice(question(self.prefix, explanation, text), ANSWERS)

    def _right(self, drawn: Drawn, marks: np.ndarray, i: int) -> Example:
        return Example(drawn.latent, drawn.active[i], ACTIVE, True, int(drawn.quantiles[i]), marks[i])

    def _wrong(self, drawn: Drawn, marks: np.ndarray, i: int, source: int) -> Example:
        return Example(drawn.latent, drawn.active[i], WRONG_MARKS, False, -1, marks[source])


class FuzzingSilent(Fuzzing):
    """Activating windows with their own marks, and silent windows, each with the marks of one of these.

    Detection tells these windows apart without marks: a score says little of whether the marks fit.
    """

    name = "fuzzing_silent"
    version = "fuzzing-silent_marks-1"
    least = Least()

    def silent_needed(self, counts: Counts, null_count: int) -> int:
        """See Method.silent_needed."""
        return counts.inactive

    def examples(self, drawn: Drawn, counts: Counts, seed: int) -> list[Example]:
        """See Method.examples."""
        if not drawn.active:
            return []
        marks = true_marks(np.stack([w.activations for w in drawn.active]))
        return [self._right(drawn, marks, i) for i in range(min(counts.active, len(drawn.active)))] + [
            Example(drawn.latent, window, RANDOM, False, -1, own)
            for window, own in zip(drawn.silent, marks[: counts.inactive], strict=False)
        ]
