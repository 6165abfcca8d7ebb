"""Intervention: does a text tell more of the explanation once the latent is turned up? (2410.13928, appendix.)"""

from scorer.core.examples import CLEAN, STEERED, Example, Shown
from scorer.core.measures import CHANGE
from scorer.core.prompts import plain_text, shown
from scorer.core.prompts_steered import passage_prompt
from scorer.core.requests import Contrast, Request
from scorer.core.scorers.method import EFFECTS, PROMPT_LOGPROBS, Counts, Drawn, Pieces
from scorer.core.scorers.steered_texts import SteeredTexts, written_marks


class Intervention(SteeredTexts):
    """log p(explanation | steered text) - log p(explanation | clean text), both after one prompt, which is shown too.

    A judge that does not read the texts gets 0 exactly. Needs the log-probabilities of prompts; meant for base models.
    """

    name = "intervention"
    version = "intervention-1"
    prefix = ""
    form = CHANGE
    needs = frozenset({EFFECTS, PROMPT_LOGPROBS})

    def examples(self, drawn: Drawn, counts: Counts, seed: int) -> list[Example]:
        """See Method.examples."""
        found: list[Example] = []
        for window, clean in zip(drawn.active, drawn.negatives.get(CLEAN, ()), strict=True):
            marks = written_marks(window, drawn.written)
            pair = (Shown(window, marks, -1), Shown(clean, marks, -1, near=False))
            found.append(Example(drawn.latent, window, STEERED, True, -1, marks, pair))
        return found

    def request(self, example: Example, explanation: str, pieces: Pieces) -> Request:
        """See Method.request."""
        steered, clean = (passage_prompt(plain_text(pieces(other.window))) for other in example.company)
        return Contrast(steered, clean, f" {shown(explanation)}")
