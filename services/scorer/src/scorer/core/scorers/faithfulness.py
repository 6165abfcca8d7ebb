"""Faithfulness: does a text match the explanation once the latent is turned up? (FADE, 2502.16994.)"""

from scorer.core.examples import CLEAN, STEERED, Example
from scorer.core.judgement import ANSWERS
from scorer.core.measures import FAITHFUL
from scorer.core.prompts import detection_prefix, plain_text, question
from scorer.core.requests import Choice, Request
from scorer.core.scorers.method import Counts, Drawn, Pieces
from scorer.core.scorers.steered_texts import SteeredTexts, written_marks, written_text


class Faithfulness(SteeredTexts):
    """What the model writes after a prompt, steered and clean, each judged as detection judges a window.

    Only what it wrote is shown: a prompt in which the latent fires would match the explanation by itself.
    """

    name = "faithfulness"
    version = "faithfulness-1"
    prefix = detection_prefix()
    form = FAITHFUL

    def examples(self, drawn: Drawn, counts: Counts, seed: int) -> list[Example]:
        """See Method.examples."""
        return [
            Example(drawn.latent, window, type_, type_ == STEERED, -1, written_marks(window, drawn.written))
            for type_, windows in ((STEERED, drawn.active), (CLEAN, drawn.negatives.get(CLEAN, ())))
            for window in windows
        ]

    def request(self, example: Example, explanation: str, pieces: Pieces) -> Request:
        """See Method.request."""
        text = plain_text(written_text(pieces, example.window, example.marks))
        return Choice(question(self.prefix, explanation, text), ANSWERS)
