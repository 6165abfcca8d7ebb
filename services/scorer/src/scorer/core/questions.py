"""The questions about one latent, in the order in which they are asked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from latent_cache import Window

from scorer.core.examples import PlacedExample, null_subset
from scorer.core.judgement import SCORE, SHUFFLED, Question
from scorer.core.null import strangers
from scorer.core.scorers import Method

Pieces = Callable[[Window], Sequence[str]]
"""Returns the text of each token of a window."""


def questions(
    method: Method,
    examples: Sequence[PlacedExample],
    pieces: Pieces,
    explanations: Mapping[int, str],
    partners: Mapping[int, int],
    null_count: int,
) -> list[Question]:
    """Returns all of a latent's questions: its examples with its own explanation, then some with its partner's.

    partners: latent to the latent whose explanation is shown in its stead; none, no shuffled arm.

    Questions with one explanation follow each other, so that an engine's prefix cache holds all but the window. The
    windows, marks and order of the shuffled arm are those of the scored one; only the explanation differs.
    """

    def ask(placed: PlacedExample, arm: str, source: int, beside: int | None) -> Question:
        example = placed.example if beside is None else replace(placed.example, beside=explanations[beside])
        request = method.request(example, explanations[source], pieces)
        return Question(placed, arm, source, pieces(example.window), request)

    asked = [ask(placed, SCORE, placed.example.latent, placed.example.rival) for placed in examples]
    for placed in null_subset(examples, null_count) if partners else ():
        shown = strangers(partners, placed.example.latent, placed.example.rival)
        if shown is not None:
            asked.append(ask(placed, SHUFFLED, *shown))
    return asked


def measured_questions(
    method: Method,
    latent: int,
    partner: int | None,
    examples: Sequence[PlacedExample],
    nulls: Sequence[PlacedExample],
    pieces: Pieces,
) -> list[Question]:
    """Returns what is known about texts that were written from a latent's explanation, then from its partner's."""
    return [
        Question(placed, arm, source, pieces(placed.example.window), method.request(placed.example, "", pieces))
        for arm, source, own in ((SCORE, latent, examples), (SHUFFLED, partner, nulls))
        for placed in own
        if source is not None
    ]


def label_free_questions(
    method: Method, examples: Sequence[PlacedExample], nulls: Sequence[PlacedExample], pieces: Pieces
) -> list[Question]:
    """Returns all of a latent's questions in which no explanation is shown, those of the null last."""
    return [
        Question(placed, arm, -1, pieces(placed.example.window), method.request(placed.example, "", pieces))
        for arm, placed_examples in ((SCORE, examples), (SHUFFLED, nulls))
        for placed in placed_examples
    ]
