"""Surprisal: is a window likelier after its explanation than after a generic one? (2410.13928, section 4.)"""

from scorer.core.examples import NEAR, NEIGHBOUR, Example
from scorer.core.measures import LABELLED
from scorer.core.prompts import plain_text, shown
from scorer.core.prompts_simulation import surprisal_prefix, surprisal_prompt
from scorer.core.requests import Contrast, Request
from scorer.core.scorers.detection import labelled, random_needed
from scorer.core.scorers.method import PROMPT_LOGPROBS, Counts, Drawn, Pieces


class Surprisal:
    """The windows of detection, ranked by log p(window | explanation) - log p(window | generic phrase).

    The answer is yes above 0. Meant for base models; needs the log-probabilities of prompts.
    """

    name = "surprisal"
    version = "surprisal-1"
    prefix = surprisal_prefix()
    form = LABELLED
    choices = 2
    needs = frozenset({PROMPT_LOGPROBS})
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
        own = surprisal_prompt(self.prefix, shown(explanation))
        return Contrast(own, surprisal_prompt(self.prefix, ""), plain_text(pieces(example.window)))
