"""What scorers of steered texts have in common: no windows, but texts that the model went on with."""

import numpy as np
from jaxtyping import Bool
from latent_cache import Window

from scorer.core.examples import Example
from scorer.core.scorers.method import EFFECTS, Counts, Drawn, Pieces
from scorer.core.scorers.texts import Texts


class SteeredTexts(Texts):
    """Texts after prompts of test documents, with the latent turned up (steered) and as the model is (clean).

    `marks` of an example are the tokens that the model wrote.
    """

    needs = frozenset({EFFECTS})

    def null_examples(self, drawn: Drawn, counts: Counts, seed: int, count: int) -> list[Example]:
        """See Method.null_examples."""
        return []


def written_marks(window: Window, written: int) -> Bool[np.ndarray, " pos"]:
    """Returns which tokens of a text the model wrote: its last ones."""
    return np.arange(len(window.tokens)) >= len(window.tokens) - written


def written_text(pieces: Pieces, window: Window, marks: Bool[np.ndarray, " pos"]) -> list[str]:
    """Returns the text of each token that the model wrote."""
    return [piece for piece, mark in zip(pieces(window), marks, strict=True) if mark]
