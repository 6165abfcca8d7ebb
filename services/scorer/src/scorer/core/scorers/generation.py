"""Generation: does the latent fire on texts that were written from its explanation? (2410.13928; 2501.08319, "input
metric"; FADE's clarity, 2502.16994.)
"""

from collections.abc import Sequence

import numpy as np
from latent_cache import Window

from scorer.core.examples import NATURAL, NEUTRAL, WRITTEN, Example
from scorer.core.measures import FIRING
from scorer.core.requests import Known, Request
from scorer.core.scorers.method import TEXTS, Counts, Drawn, Pieces
from scorer.core.scorers.texts import Texts


class Generation(Texts):
    """Texts that a model wrote from the explanation, against texts that it wrote so as not to fit it, and against
    natural windows of test documents, whether the latent fires in them or not.

    No judge is asked: the value is the strongest activation in a text, and the answer is whether it fires. In the null
    the texts were written from another latent's explanation.
    """

    name = "generation"
    version = "generation-1"
    prefix = ""
    form = FIRING
    needs = frozenset({TEXTS})

    def examples(self, drawn: Drawn, counts: Counts, seed: int) -> list[Example]:
        """See Method.examples."""
        return _examples(drawn, drawn.active)

    def null_examples(self, drawn: Drawn, counts: Counts, seed: int, count: int) -> list[Example]:
        """See Method.null_examples. The texts of the one rival, this latent's activations."""
        return [example for windows in drawn.rivals.values() for example in _examples(drawn, windows[:count])]

    def request(self, example: Example, explanation: str, pieces: Pieces) -> Request:
        """See Method.request."""
        return Known(example.window.max)


def _examples(drawn: Drawn, written: Sequence[Window]) -> list[Example]:
    by_type = {WRITTEN: written, **{type_: drawn.negatives.get(type_, ()) for type_ in (NEUTRAL, NATURAL)}}
    return [
        Example(drawn.latent, window, type_, type_ == WRITTEN, -1, np.zeros(len(window.tokens), np.bool_))
        for type_, windows in by_type.items()
        for window in windows
        if written
    ]
