"""The bill: tokens and requests."""

from dataclasses import dataclass

from dragoman.llm.reply import Completion
from dragoman.metrics import METRICS


@dataclass(slots=True)
class Account:
    """What a client spent. Tokens count once per request that the engine served.

    prompt: prompt tokens, of which `cached` came out of the engine's prefix cache. completion: new tokens.
    replayed: prompts answered from the response cache; they cost nothing and add no tokens.
    """

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    requests: int = 0
    retries: int = 0
    failures: int = 0
    replayed: int = 0

    def add(self, completion: Completion) -> None:
        """Count one reply."""
        if completion.cached:
            self.replayed += 1
            return
        self.prompt += completion.usage.prompt
        self.cached += completion.usage.cached
        self.completion += completion.usage.completion
        for type_ in ("prompt", "cached", "completion"):
            METRICS.llm_tokens.labels(type_).inc(getattr(completion.usage, type_))
