"""Detection: does this window, unmarked, activate the latent? (Paulo et al. 2410.13928, section 4.)"""

import numpy as np
from jaxtyping import Bool
from latent_cache import Window

from scorer.core.examples import ACTIVE, NEAR, NEIGHBOUR, Example
from scorer.core.judgement import ANSWERS
from scorer.core.measures import LABELLED
from scorer.core.prompts import detection_prefix, plain_text, question
from scorer.core.requests import Choice, Request
from scorer.core.scorers.method import Counts, Drawn, Pieces


class Detection:
    """Activating windows against windows of the same documents' split in which the latent is exactly silent.

    Negatives are typed: drawn at random without replacement, by a seed of the latent's own; strong windows of latents
    that fire together with it; those nearest to the activating ones in an embedding.
    """

    name = "detection"
    version = "detection-typed-2"
    prefix = detection_prefix()
    form = LABELLED
    choices = 2
    needs = frozenset[str]()
    label_free = False
    negative_types = frozenset({NEIGHBOUR, NEAR})
    rivals = 0

    def active_needed(self, counts: Counts) -> int:
        """See Method.active_needed."""
        return counts.active

    def silent_needed(self, counts: Counts, null_count: int) -> int:
        """See Method.silent_needed."""
        return random_needed(counts)

    def examples(self, drawn: Drawn, counts: Counts, seed: int) -> list[Example]:
        """See Method.examples."""
        return labelled(drawn)

    def null_examples(self, drawn: Drawn, counts: Counts, seed: int, count: int) -> list[Example]:
        """See Method.null_examples."""
        return []

    def request(self, example: Example, explanation: str, pieces: Pieces) -> Request:
        """See Method.request."""
        return Choice(question(self.prefix, explanation, plain_text(pieces(example.window))), ANSWERS)


def random_needed(counts: Counts) -> int:
    """Returns how many silent windows are asked for."""
    return counts.negatives.get("random", 0)


def labelled(drawn: Drawn) -> list[Example]:
    """Returns the activating windows as positives and the typed others as negatives, all unmarked."""
    positives = [
        Example(drawn.latent, window, ACTIVE, True, int(quantile), unmarked(window))
        for window, quantile in zip(drawn.active, drawn.quantiles, strict=True)
    ]
    negatives = [
        Example(drawn.latent, window, type_, False, -1, unmarked(window))
        for type_, windows in drawn.negatives.items()
        for window in windows
    ]
    return positives + negatives


def unmarked(window: Window) -> Bool[np.ndarray, " pos"]:
    """Returns no mark for each of a window's tokens."""
    return np.zeros(len(window.tokens), np.bool_)
