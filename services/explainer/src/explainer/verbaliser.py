"""What the explainer asks of an activation verbaliser, in its own terms."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from dragoman.llm import Failure

from explainer.spec import NlaRef


@dataclass(frozen=True, slots=True)
class Place:
    """A text that ends with the token whose activation is to be put into words."""

    text: str
    position: int
    """Of that token among those of the text, from 0."""


class Verbaliser(Protocol):
    """Says what the subject model's activation at a token holds."""

    def resolve(self, nla: NlaRef) -> NlaRef:
        """Fills in the operator's names. Raises FailedPrecondition when no verbaliser is configured."""
        ...

    def describe(self, places: Sequence[Place], nla: NlaRef) -> Iterator[tuple[int, str | Failure]]:
        """Yields the index of a place and what is said of it, as replies come.

        Raises LLMUnavailable when the verbaliser cannot be reached, UserTaskError when it refuses every request.
        """
        ...
