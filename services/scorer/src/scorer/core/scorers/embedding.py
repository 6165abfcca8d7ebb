"""Embedding: is a window nearer to its explanation than other windows are? (2410.13928, section 4.)

The paper's encoder wants an instruction before the query; MiniLM and its like do not: the explanation stands alone.
"""

from scorer.core.examples import Example
from scorer.core.measures import RANKED
from scorer.core.prompts import plain_text, shown
from scorer.core.requests import Nearness, Request
from scorer.core.scorers.method import EMBEDDINGS, Pieces
from scorer.core.scorers.plain_windows import PlainWindows


class Embedding(PlainWindows):
    """The windows of detection, ranked by their cosine with the explanation. No language model is asked."""

    name = "embedding"
    version = "embedding-plain-1"
    prefix = ""
    form = RANKED
    needs = frozenset({EMBEDDINGS})

    def request(self, example: Example, explanation: str, pieces: Pieces) -> Request:
        """See Method.request."""
        return Nearness(plain_text(pieces(example.window)), [shown(explanation)])
