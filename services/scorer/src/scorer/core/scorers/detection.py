"""Detection: does this window, unmarked, activate the latent? (Paulo et al. 2410.13928, section 4.)"""

from scorer.core.examples import Example
from scorer.core.judgement import ANSWERS
from scorer.core.measures import RATED
from scorer.core.prompts import detection_prefix, plain_text, question
from scorer.core.requests import Choice, Request
from scorer.core.scorers.method import Pieces
from scorer.core.scorers.plain_windows import PlainWindows


class Detection(PlainWindows):
    """One window in a prompt, yes or no. What is answered yes is also set against the activations themselves."""

    name = "detection"
    version = "detection-typed-2"
    prefix = detection_prefix()
    form = RATED

    def request(self, example: Example, explanation: str, pieces: Pieces) -> Request:
        """See Method.request."""
        return Choice(question(self.prefix, explanation, plain_text(pieces(example.window))), ANSWERS)
