"""Decile intruder: which of five activating windows is of another strength? No explanation is shown (2507.08473).

Above chance where a latent's strength means something that can be seen; at chance where it only fires or does not.
True marks are shown, as published: how many there are may tell the strength.
"""

import numpy as np

from scorer.core.examples import OTHER_DECILE, Example, Shown
from scorer.core.marks import true_marks
from scorer.core.measures import TRIALS
from scorer.core.prompts_odd_one import PLACES, decile_intruder_prefix, odd_one_question
from scorer.core.requests import Choice, Request
from scorer.core.scorers.method import Counts, Drawn, Least, Pieces
from scorer.core.trials import GROUP, groups_seed, rotated, strength_groups, whole_groups


class DecileIntruder:
    """Groups of like strength, each with windows of another group as odd ones.

    In the null windows are dealt to groups whatever their strength.
    """

    name = "decile_intruder"
    version = "decile_intruder-rotated-1"
    prefix = decile_intruder_prefix()
    form = TRIALS
    choices = GROUP
    needs = frozenset[str]()
    label_free = True
    negative_types = frozenset[str]()
    rivals = 0
    least = Least(active=2 * GROUP, null=GROUP)

    def active_needed(self, counts: Counts) -> int:
        """See Method.active_needed."""
        return whole_groups(counts.active)

    def silent_needed(self, counts: Counts, null_count: int) -> int:
        """See Method.silent_needed."""
        return 0

    def examples(self, drawn: Drawn, counts: Counts, seed: int) -> list[Example]:
        """See Method.examples."""
        return _trials(drawn, drawn.quantiles, groups_seed(seed, drawn.latent))

    def null_examples(self, drawn: Drawn, counts: Counts, seed: int, count: int) -> list[Example]:
        """See Method.null_examples."""
        own = groups_seed(seed, drawn.latent, "null")
        dealt = np.random.Generator(np.random.PCG64(own)).permutation(len(drawn.quantiles))
        return _trials(drawn, dealt, own)[: whole_groups(count)]

    def request(self, example: Example, explanation: str, pieces: Pieces) -> Request:
        """See Method.request."""
        shown = [(pieces(shown.window), shown.marks) for shown in example.company]
        return Choice(odd_one_question(self.prefix, shown), PLACES)


def _trials(drawn: Drawn, strengths: np.ndarray, seed: int) -> list[Example]:
    """Returns the trials of all groups by `strengths`; none where there is only one group."""
    if len(drawn.active) < 2 * GROUP:
        return []
    marks = true_marks(np.stack([window.activations for window in drawn.active]))
    shown = [Shown(w, m, int(q)) for w, m, q in zip(drawn.active, marks, drawn.quantiles, strict=True)]
    numbers = strength_groups(strengths, seed)
    # Each group's windows are odd ones once: all groups are shifted by the same drawn number.
    shift = int(np.random.Generator(np.random.PCG64(seed)).integers(1, len(numbers)))
    found: list[Example] = []
    for series, (group, other) in enumerate(zip(numbers, np.roll(numbers, -shift, axis=0), strict=True)):
        found += rotated(drawn.latent, [shown[i] for i in group], [shown[i] for i in other], OTHER_DECILE, series)
    return found
