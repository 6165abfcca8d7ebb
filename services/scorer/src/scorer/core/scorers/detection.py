"""Detection: does this window, unmarked, activate the latent? (Paulo et al. 2410.13928, section 4.)"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool
from latent_cache import Window

from scorer.core.examples import ACTIVE, RANDOM, Example
from scorer.core.prompts import detection_prefix, plain_text
from scorer.core.scorers.method import Counts, Drawn


class Detection:
    """Activating windows against windows of the same documents' split in which the latent is exactly silent.

    Silent windows are drawn at random without replacement, by a seed of the latent's own.
    """

    name = "detection"
    version = "detection-random-1"
    prefix = detection_prefix()

    def active_needed(self, counts: Counts) -> int:
        """See Method.active_needed."""
        return counts.active

    def silent_needed(self, counts: Counts) -> int:
        """See Method.silent_needed."""
        return counts.inactive

    def examples(self, drawn: Drawn, counts: Counts, seed: int) -> list[Example]:
        """See Method.examples."""
        positives = [
            Example(drawn.latent, window, ACTIVE, True, int(quantile), _unmarked(window))
            for window, quantile in zip(drawn.active, drawn.quantiles, strict=True)
        ]
        negatives = [Example(drawn.latent, window, RANDOM, False, -1, _unmarked(window)) for window in drawn.silent]
        return positives + negatives

    def text(self, example: Example, pieces: Sequence[str]) -> str:
        """See Method.text."""
        return plain_text(pieces)


def _unmarked(window: Window) -> Bool[np.ndarray, " pos"]:
    return np.zeros(len(window.tokens), np.bool_)
