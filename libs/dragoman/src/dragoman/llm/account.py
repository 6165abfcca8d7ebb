"""The bill: tokens and requests."""

from dataclasses import dataclass
from typing import Protocol

from dragoman.llm.price import Price
from dragoman.llm.reply import Usage
from dragoman.metrics import METRICS


class Billed(Protocol):
    """A reply of an engine, of any kind."""

    @property
    def usage(self) -> Usage:
        """Its tokens."""
        ...

    @property
    def cached(self) -> bool:
        """Whether it was replayed from the response cache."""
        ...


@dataclass(slots=True)
class Account:
    """What a client spent. Tokens count once per request that the engine served.

    prompt: prompt tokens, of which `cached` came out of the engine's prefix cache. completion: new tokens.
    replayed: prompts answered from the response cache; they cost nothing and add no tokens.
    price: of a million tokens, where it is known.
    """

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    requests: int = 0
    retries: int = 0
    failures: int = 0
    replayed: int = 0
    price: Price | None = None

    def add(self, reply: Billed) -> None:
        """Count one reply."""
        if reply.cached:
            self.replayed += 1
            return
        self.prompt += reply.usage.prompt
        self.cached += reply.usage.cached
        self.completion += reply.usage.completion
        for type_ in ("prompt", "cached", "completion"):
            METRICS.llm_tokens.labels(type_).inc(getattr(reply.usage, type_))
        if self.price is not None:
            paid = self.price.of(reply.usage.prompt, reply.usage.cached, reply.usage.completion)
            METRICS.llm_spend.labels(self.price.currency).inc(paid)
