"""Discrimination: which of two like labels does this window fit? (descriptive collision, 2605.12874)

Detection cannot see that a label is shared by many latents: its negatives are windows of none of them.
"""

from dataclasses import replace

import numpy as np
from latent_cache import Window

from scorer.core.examples import ACTIVE, SIMILAR_LABEL, Example
from scorer.core.marks import true_marks
from scorer.core.measures import LABELLED
from scorer.core.prompts import marked_line, shown
from scorer.core.prompts_discrimination import CHOICES, discrimination_prefix, discrimination_question
from scorer.core.requests import Choice, Request
from scorer.core.scorers.method import Counts, Drawn, Least, Pieces


class Discrimination:
    """Marked windows of the latent, and of the latent whose label is most like its own, where it is silent.

    Both labels are shown, in either order as often for either kind of window: a judge that prefers a place, or one of
    the two labels, gets 0.5. Value: the share of the latent's own label. In the null both labels are those of two
    further latents.
    """

    name = "discrimination"
    version = "discrimination-1"
    prefix = discrimination_prefix()
    form = LABELLED
    choices = 2
    needs = frozenset[str]()
    label_free = False
    negative_types = frozenset[str]()
    rivals = 1
    """Latents that the latent is told from."""
    least = Least(active=2, inactive=2)
    """Either order of the labels stands with either kind of window."""

    def active_needed(self, counts: Counts) -> int:
        """See Method.active_needed."""
        return counts.active

    def silent_needed(self, counts: Counts, null_count: int) -> int:
        """See Method.silent_needed."""
        return 0

    def examples(self, drawn: Drawn, counts: Counts, seed: int) -> list[Example]:
        """See Method.examples. For each rival as many windows of the latent as of the rival, an even number."""
        found: list[Example] = []
        size = min(len(drawn.active), counts.inactive) // (2 * max(len(drawn.rivals), 1)) * 2
        for number, (rival, windows) in enumerate(drawn.rivals.items()):
            own = list(zip(drawn.active, drawn.quantiles, strict=True))[number * size : (number + 1) * size]
            count = min(len(own), len(windows)) // 2 * 2
            for i in range(count):
                window, quantile = own[i]
                found.append(_example(drawn.latent, rival, window, ACTIVE, int(quantile), i))
                found.append(_example(drawn.latent, rival, windows[i], SIMILAR_LABEL, -1, i))
        return found

    def null_examples(self, drawn: Drawn, counts: Counts, seed: int, count: int) -> list[Example]:
        """See Method.null_examples."""
        return []

    def request(self, example: Example, explanation: str, pieces: Pieces) -> Request:
        """See Method.request."""
        labels = [shown(explanation), shown(example.beside)]
        text = marked_line(pieces(example.window), example.marks)
        return Choice(discrimination_question(self.prefix, labels[:: 1 - 2 * example.place], text), CHOICES)


def _example(latent: int, rival: int, window: Window, type_: str, quantile: int, number: int) -> Example:
    marks = true_marks(window.activations[None])[0]
    silenced = window if type_ == ACTIVE else replace(window, activations=np.zeros_like(window.activations))
    return Example(
        latent, silenced, type_, type_ == ACTIVE, quantile, marks, place=number % 2, series=1 + rival, rival=rival
    )
