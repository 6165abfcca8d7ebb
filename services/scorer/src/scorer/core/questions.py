"""The questions about one latent, in the order in which they are asked."""

from collections.abc import Callable, Mapping, Sequence

from latent_cache import Window

from scorer.core.examples import PlacedExample, null_subset
from scorer.core.judgement import SCORE, SHUFFLED, Question
from scorer.core.prompts import question
from scorer.core.scorers import Method

Pieces = Callable[[Window], Sequence[str]]
"""Returns the text of each token of a window."""


def questions(
    method: Method,
    examples: Sequence[PlacedExample],
    pieces: Pieces,
    explanations: Mapping[int, str],
    partner: int | None,
    null_count: int,
) -> list[Question]:
    """Returns all of a latent's questions: its examples with its own explanation, then some with its partner's.

    Questions with one explanation follow each other, so that an engine's prefix cache holds all but the window. The
    windows, marks and order of the shuffled arm are those of the scored one; only the explanation differs.
    """
    texts = {placed.index: pieces(placed.example.window) for placed in examples}

    def ask(placed: PlacedExample, arm: str, source: int) -> Question:
        shown = method.text(placed.example, texts[placed.index])
        prompt = question(method.prefix, explanations[source], shown)
        return Question(placed, arm, source, texts[placed.index], prompt)

    asked = [ask(placed, SCORE, placed.example.latent) for placed in examples]
    if partner is not None:
        asked += [ask(placed, SHUFFLED, partner) for placed in null_subset(examples, null_count)]
    return asked
