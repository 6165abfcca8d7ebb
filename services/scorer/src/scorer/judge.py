"""What a scorer asks of engines, in its own terms."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from scorer.core.judgement import Verdict
from scorer.core.requests import Request
from scorer.spec import LlmRef


class Judge(Protocol):
    """Answers choices, contrasts and simulations."""

    def resolve(self, llm: LlmRef, needs: frozenset[str]) -> LlmRef:
        """Fills in what the engine has.

        Raises Unavailable when it cannot be reached, InvalidSpec for no such model or one that cannot do what is needed
        (names of `core.scorers.method`). A busy engine is not waited for: what it can do is found out in `verdicts`.
        """
        ...

    def verdicts(self, requests: Sequence[Request], llm: LlmRef) -> Iterator[tuple[int, Verdict]]:
        """Puts the requests, several at a time and in this order; yields index and verdict as answers come.

        Raises UserTaskError for an engine that cannot do what they need.
        """
        ...

    def planned(self, requests: Sequence[Request], llm: LlmRef) -> Sequence[str]:
        """Returns what the engine would read for the requests; each prompt is answered with one token."""
        ...

    def count(self, prompts: Sequence[str], llm: LlmRef) -> Sequence[int] | None:
        """Returns the tokens of each prompt as the engine would read it, None where it cannot tell."""
        ...
