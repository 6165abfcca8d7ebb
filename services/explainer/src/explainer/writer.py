"""What the explainer asks of a language model, in its own terms."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from explainer.core.dialogue import Heard
from explainer.core.prompt import Prompt
from explainer.spec import LlmRef


@dataclass(frozen=True, slots=True)
class Written(Heard):
    """The engine's reply to one prompt, or why there is none, and what it took."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


class Writer(Protocol):
    """Answers prompts at length."""

    def resolve(self, llm: LlmRef) -> LlmRef:
        """Fills in what the engine has. Raises Unavailable when it cannot be reached, InvalidSpec for no such model."""
        ...

    def write(self, prompts: Sequence[Prompt], llm: LlmRef, seed: int) -> Iterator[tuple[int, Written]]:
        """Puts the prompts, several at a time and in this order; yields index and reply as they come."""
        ...

    def count(self, prompts: Sequence[Prompt], llm: LlmRef) -> Sequence[int] | None:
        """Returns the tokens that the engine would read for each prompt, template and all; None where it cannot tell.

        Raises LLMUnavailable when the engine is away.
        """
        ...
