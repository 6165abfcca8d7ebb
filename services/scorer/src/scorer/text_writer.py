"""Writes texts with an OpenAI-compatible engine."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from dragoman.llm import Completion, Endpoint, Failure, ResponseCache, Sampling, settled
from dragoman.llm.token_count import count_tokens

from scorer.core.prompts_texts import STOP
from scorer.spec import LlmRef

_SEED_BITS = 31

Reply = Completion | Failure


class TextWriter(Protocol):
    """Goes on with prompts."""

    def resolve(self, model: str) -> str:
        """Returns the model's name. Raises Unavailable without an engine, InvalidSpec for no such model."""
        ...

    def write(self, prompts: Sequence[str], llm: LlmRef, seed: int) -> Iterator[tuple[int, Reply]]:
        """Puts the prompts, several at a time and in this order; yields index and reply as they come."""
        ...

    def count(self, prompts: Sequence[str], llm: LlmRef) -> Sequence[int] | None:
        """Returns the tokens of each prompt as the engine would read it, None where it cannot tell."""
        ...


class EngineWriter:
    """Implements TextWriter. Connects only when it is asked something."""

    def __init__(self, endpoint: Endpoint, cache: ResponseCache | None = None) -> None:
        self._endpoint = endpoint
        self._cache = cache

    def resolve(self, model: str) -> str:
        """See TextWriter.resolve."""
        return self._endpoint.resolve(model)

    def write(self, prompts: Sequence[str], llm: LlmRef, seed: int) -> Iterator[tuple[int, Reply]]:
        """See TextWriter.write."""
        # A seed makes sampled replies repeatable, and so fit for the response cache.
        own_seed = seed % (1 << _SEED_BITS) if llm.temperature > 0.0 else None
        sampling = Sampling(llm.max_tokens, llm.temperature, seed=own_seed, stop=STOP)
        with self._endpoint.client(llm.model, self._cache) as client:
            yield from settled(client, list(prompts), sampling)

    def count(self, prompts: Sequence[str], llm: LlmRef) -> Sequence[int] | None:
        """See TextWriter.count."""
        return count_tokens(self._endpoint, llm.model, prompts)
