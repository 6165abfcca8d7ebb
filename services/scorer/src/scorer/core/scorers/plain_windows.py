"""The examples of detection, which other scorers judge in their own ways."""

import numpy as np
from jaxtyping import Bool
from latent_cache import Window

from scorer.core.examples import ACTIVE, DECODER, NEAR, NEIGHBOUR, RANDOM, Example
from scorer.core.measures import LABELLED
from scorer.core.scorers.method import Counts, Drawn, Least


class PlainWindows:
    """Activating windows against windows of the same documents' split in which the latent is exactly silent, unmarked.

    Negatives are typed: drawn at random without replacement, by a seed of the latent's own; strong windows of latents
    that fire together with it, or whose decoder directions are like its own; those nearest to the activating ones in an
    embedding.
    """

    form = LABELLED
    choices = 2
    needs = frozenset[str]()
    label_free = False
    negative_types = frozenset({NEIGHBOUR, DECODER, NEAR})
    rivals = 0
    least = Least()

    def active_needed(self, counts: Counts) -> int:
        """See Method.active_needed."""
        return counts.active

    def silent_needed(self, counts: Counts, null_count: int) -> int:
        """See Method.silent_needed."""
        return counts.negatives.get(RANDOM, 0)

    def examples(self, drawn: Drawn, counts: Counts, seed: int) -> list[Example]:
        """See Method.examples."""
        return _labelled(drawn)

    def null_examples(self, drawn: Drawn, counts: Counts, seed: int, count: int) -> list[Example]:
        """See Method.null_examples."""
        return []


def _labelled(drawn: Drawn) -> list[Example]:
    """Returns the activating windows as positives and the typed others as negatives, all unmarked."""
    positives = [
        Example(drawn.latent, window, ACTIVE, True, int(quantile), _unmarked(window))
        for window, quantile in zip(drawn.active, drawn.quantiles, strict=True)
    ]
    negatives = [
        Example(drawn.latent, window, type_, False, -1, _unmarked(window))
        for type_, windows in drawn.negatives.items()
        for window in windows
    ]
    return positives + negatives


def _unmarked(window: Window) -> Bool[np.ndarray, " pos"]:
    """Returns no mark for each of a window's tokens."""
    return np.zeros(len(window.tokens), np.bool_)
