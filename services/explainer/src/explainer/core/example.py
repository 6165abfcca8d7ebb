"""One window as the explainer sees it: marked text and the strengths of the marked tokens."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32
from latent_cache.render import marked

MARK_THRESHOLD = 0.3
"""Tokens above this share of their window's strongest activation are marked (delphi's value)."""

STRONGEST = 10
LISTED = 10
"""At most this many strengths are listed for a window, the strongest."""

SUMMED = 12
"""At most this many different marked tokens are listed at the end of a question."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A window's text, one string a token, and the latent's activation at each."""

    texts: Sequence[str]
    activations: Float32[np.ndarray, " length"]
    threshold: float = MARK_THRESHOLD

    @property
    def marks(self) -> Bool[np.ndarray, " length"]:
        """Which tokens are marked."""
        return mask(self.activations, self.threshold)

    @property
    def peak(self) -> int:
        """Position of the strongest activation, the first of equal ones."""
        return int(self.activations.argmax())


def mask(activations: Float32[np.ndarray, " length"], threshold: float = MARK_THRESHOLD) -> Bool[np.ndarray, " length"]:
    """Returns which tokens are marked: those above `threshold` of the window's strongest activation."""
    return activations > threshold * activations.max()


def strength(activation: float, strongest: float) -> int:
    """Returns 1 to 10, `min(10, ceil(10 a / a_max))` (Paulo et al. 2410.13928)."""
    return min(STRONGEST, math.ceil(STRONGEST * activation / strongest))


def marked_text(example: Example) -> str:
    """Returns the window on one line, runs of marked tokens between << and >>."""
    return marked([one_line(text) for text in example.texts], example.marks).strip()


def strengths_text(example: Example, strongest: float) -> str:
    """Returns the marked tokens in order of appearance with their strengths: `(Monday 9, March 4)`."""
    places = np.flatnonzero(example.marks)
    strongest_first = places[np.argsort(-example.activations[places], kind="stable")]
    kept = sorted(int(place) for place in strongest_first[:LISTED])
    pairs = [(name(example.texts[i]), strength(float(example.activations[i]), strongest)) for i in kept]
    return f"({', '.join(f'{text} {value}' for text, value in pairs)})"


def marked_tokens(examples: Sequence[Example]) -> str:
    """Returns the different marked tokens of all windows, the strongest first, at most SUMMED.

    With this line at the end of a question a model of 0.5 to 1.5 billion parameters names what the tokens have in
    common; without it, it repeats the answer of the last worked example.
    """
    best: dict[str, float] = {}
    for example in examples:
        for place in np.flatnonzero(example.marks).tolist():
            token = name(example.texts[place])
            best[token] = max(best.get(token, 0.0), float(example.activations[place]))
    return ", ".join(sorted(best, key=lambda token: -best[token])[:SUMMED])


def one_line(text: str) -> str:
    """Returns a text without line breaks: one line of a prompt, so that a reader can tell where the next begins."""
    return text.replace("\r", "").replace("\n", "\\n")


def name(text: str) -> str:
    """Returns a token as it stands in a list; one without visible characters is shown quoted."""
    return one_line(text).strip() or repr(text)
