"""Embedding: is a window nearer to its explanation than other windows are? (2410.13928, section 4.)

The paper's encoder wants an instruction before the query; MiniLM and its like do not: the explanation stands alone.
"""

from scorer.core.examples import NEAR, NEIGHBOUR, Example
from scorer.core.measures import RANKED
from scorer.core.prompts import plain_text, shown
from scorer.core.requests import Nearness, Request
from scorer.core.scorers.detection import labelled, random_needed
from scorer.core.scorers.method import EMBEDDINGS, Counts, Drawn, Pieces


class Embedding:
    """The windows of detection, ranked by their cosine with the explanation. No language model is asked."""

    name = "embedding"
    version = "embedding-plain-1"
    prefix = ""
    form = RANKED
    choices = 2
    needs = frozenset({EMBEDDINGS})
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
        return Nearness(plain_text(pieces(example.window)), [shown(explanation)])
