"""Example embedding: are activating windows nearer to each other than silent ones are to them? Shows no explanation
(2507.08473).
"""

from collections.abc import Sequence

import numpy as np
from latent_cache import Window

from scorer.core.examples import ACTIVE, RANDOM, Example, Shown
from scorer.core.marks import true_marks
from scorer.core.measures import LABELLED
from scorer.core.prompts import marked_line
from scorer.core.requests import Nearness, Request
from scorer.core.scorers.method import EMBEDDINGS, Counts, Drawn, Least, Pieces
from scorer.core.trials import like_strength

COMPANY = 10
"""Most windows of either kind that one is compared with, as published."""


class ExampleEmbedding:
    """Each activating window, and a silent one, against up to ten activating windows of like strength and ten silent.

    Value: mean cosine with the former minus that with the latter; the answer is yes above 0. Every silent window
    carries the marks of an activating one and stands for it everywhere, so that marks tell nothing: an encoder that
    sees them alone gives 0 throughout. In the null the activating windows are silent ones too.
    """

    name = "example_embedding"
    version = "example_embedding-paired-1"
    prefix = ""
    form = LABELLED
    choices = 2
    needs = frozenset({EMBEDDINGS})
    label_free = True
    negative_types = frozenset[str]()
    rivals = 0
    least = Least(active=2, null=2)

    def active_needed(self, counts: Counts) -> int:
        """See Method.active_needed."""
        return counts.active

    def silent_needed(self, counts: Counts, null_count: int) -> int:
        """See Method.silent_needed."""
        return counts.active + 2 * null_count

    def examples(self, drawn: Drawn, counts: Counts, seed: int) -> list[Example]:
        """See Method.examples."""
        own = _own(drawn)
        return _compared(drawn.latent, own, _standing_for(own, drawn.silent[: len(own)]), drawn.quantiles)

    def null_examples(self, drawn: Drawn, counts: Counts, seed: int, count: int) -> list[Example]:
        """See Method.null_examples."""
        own = _own(drawn)[:count]
        spare = drawn.silent[len(drawn.active) :]
        size = min(len(own), len(spare) // 2)
        first = _standing_for(own, spare[:size])
        return _compared(drawn.latent, first, _standing_for(own, spare[size : 2 * size]), drawn.quantiles[:size])

    def request(self, example: Example, explanation: str, pieces: Pieces) -> Request:
        """See Method.request."""
        texts = [marked_line(pieces(other.window), other.marks) for other in example.company]
        near = [text for text, other in zip(texts, example.company, strict=True) if other.near]
        far = [text for text, other in zip(texts, example.company, strict=True) if not other.near]
        return Nearness(marked_line(pieces(example.window), example.marks), near, far)


def _own(drawn: Drawn) -> list[Shown]:
    if not drawn.active:
        return []
    marks = true_marks(np.stack([window.activations for window in drawn.active]))
    return [Shown(w, m, int(q)) for w, m, q in zip(drawn.active, marks, drawn.quantiles, strict=True)]


def _standing_for(own: Sequence[Shown], silent: Sequence[Window]) -> list[Shown]:
    return [Shown(window, mine.marks, -1) for mine, window in zip(own, silent, strict=False)]


def _compared(latent: int, own: list[Shown], others: list[Shown], quantiles: np.ndarray) -> list[Example]:
    size = min(len(own), len(others))
    found: list[Example] = []
    for i in range(size if size > 1 else 0):
        beside = like_strength(quantiles[:size], i, COMPANY)
        near = [Shown(own[j].window, own[j].marks, own[j].quantile) for j in beside]
        far = [Shown(others[j].window, others[j].marks, -1, near=False) for j in beside]
        for query, type_, label in ((own[i], ACTIVE, True), (others[i], RANDOM, False)):
            series = 1 + 2 * i + label
            found.append(
                Example(latent, query.window, type_, label, query.quantile, query.marks, (*near, *far), 0, series)
            )
    return found
