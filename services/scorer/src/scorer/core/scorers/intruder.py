"""Intruder detection: which of five windows does not activate the latent? No explanation is shown (2507.08473).

The published protocol marks the mean number of active tokens at random in the intruder. Marks drawn so are scattered
where true ones stand together: here the intruder carries the marks of the window that it stands for.
"""

from collections.abc import Sequence

import numpy as np
from latent_cache import Window

from scorer.core.examples import RANDOM, Example, Shown
from scorer.core.marks import true_marks
from scorer.core.measures import TRIALS
from scorer.core.prompts_odd_one import PLACES, intruder_prefix, odd_one_question
from scorer.core.requests import Choice, Request
from scorer.core.scorers.method import Counts, Drawn, Least, Pieces
from scorer.core.trials import GROUP, groups_seed, rotated, strength_groups, whole_groups


class Intruder:
    """Four activating windows of like strength with their marks, and one in which the latent is silent.

    In the null all five windows are silent ones, under the same marks: there is nothing to find.
    """

    name = "intruder"
    version = "intruder-rotated-1"
    prefix = intruder_prefix()
    form = TRIALS
    choices = GROUP
    needs = frozenset[str]()
    label_free = True
    negative_types = frozenset[str]()
    rivals = 0
    least = Least(active=GROUP, null=GROUP)

    def active_needed(self, counts: Counts) -> int:
        """See Method.active_needed."""
        return whole_groups(counts.active)

    def silent_needed(self, counts: Counts, null_count: int) -> int:
        """See Method.silent_needed. A trial has a silent window of its own; those of the null have groups besides."""
        return whole_groups(counts.active) + 2 * whole_groups(null_count)

    def examples(self, drawn: Drawn, counts: Counts, seed: int) -> list[Example]:
        """See Method.examples."""
        groups = _groups(drawn, seed)
        silent = drawn.silent[: len(groups) * GROUP]
        found: list[Example] = []
        for series, group in enumerate(groups[: len(silent) // GROUP]):
            odd = _under_marks(silent[series * GROUP : (series + 1) * GROUP], group)
            found += rotated(drawn.latent, group, odd, RANDOM, series)
        return found

    def null_examples(self, drawn: Drawn, counts: Counts, seed: int, count: int) -> list[Example]:
        """See Method.null_examples."""
        groups = _groups(drawn, seed)[: count // GROUP]
        silent = drawn.silent[whole_groups(len(drawn.active)) :]
        found: list[Example] = []
        for series, group in enumerate(groups[: len(silent) // (2 * GROUP)]):
            first = series * 2 * GROUP
            base = _under_marks(silent[first : first + GROUP], group)
            odd = _under_marks(silent[first + GROUP : first + 2 * GROUP], group)
            found += rotated(drawn.latent, base, odd, RANDOM, series)
        return found

    def request(self, example: Example, explanation: str, pieces: Pieces) -> Request:
        """See Method.request."""
        shown = [(pieces(shown.window), shown.marks) for shown in example.company]
        return Choice(odd_one_question(self.prefix, shown), PLACES)


def _groups(drawn: Drawn, seed: int) -> list[list[Shown]]:
    if len(drawn.active) < GROUP:
        return []
    marks = true_marks(np.stack([window.activations for window in drawn.active]))
    shown = [Shown(w, m, int(q)) for w, m, q in zip(drawn.active, marks, drawn.quantiles, strict=True)]
    numbers = strength_groups(drawn.quantiles, groups_seed(seed, drawn.latent))
    return [[shown[i] for i in group] for group in numbers.tolist()]


def _under_marks(windows: Sequence[Window], group: Sequence[Shown]) -> list[Shown]:
    """Silent windows, each with the marks of a window of the group."""
    return [Shown(window, own.marks, -1, near=False) for window, own in zip(windows, group, strict=True)]
