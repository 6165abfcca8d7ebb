"""What a scorer asks of a language model, in its own terms."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from scorer.core.judgement import Verdict
from scorer.spec import LlmRef


class Judge(Protocol):
    """Answers yes or no."""

    def resolve(self, llm: LlmRef) -> LlmRef:
        """Fills in what the engine has. Raises Unavailable when it cannot be reached, InvalidSpec for no such model."""
        ...

    def verdicts(self, prompts: Sequence[str], llm: LlmRef) -> Iterator[tuple[int, Verdict]]:
        """Puts the prompts, several at a time and in this order; yields index and verdict as answers come."""
        ...
