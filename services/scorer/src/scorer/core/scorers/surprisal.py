"""Surprisal: is a window likelier after its explanation than after a generic one? (2410.13928, section 4.)"""

from scorer.core.examples import Example
from scorer.core.prompts import plain_text, shown
from scorer.core.prompts_simulation import surprisal_prefix, surprisal_prompt
from scorer.core.requests import Contrast, Request
from scorer.core.scorers.method import PROMPT_LOGPROBS, Pieces
from scorer.core.scorers.plain_windows import PlainWindows


class Surprisal(PlainWindows):
    """The windows of detection, ranked by log p(window | explanation) - log p(window | generic phrase).

    The answer is yes above 0. Meant for base models; needs the log-probabilities of prompts.
    """

    name = "surprisal"
    version = "surprisal-1"
    prefix = surprisal_prefix()
    needs = frozenset({PROMPT_LOGPROBS})

    def request(self, example: Example, explanation: str, pieces: Pieces) -> Request:
        """See Method.request."""
        own = surprisal_prompt(self.prefix, shown(explanation))
        return Contrast(own, surprisal_prompt(self.prefix, ""), plain_text(pieces(example.window)))
