"""What tokens cost: prices are an operator's, and never guessed."""

import math
from collections.abc import Mapping

from pydantic import Field

from dragoman.errors import InvalidSpec
from dragoman.ids import Json
from dragoman.kinds import Spec

_MILLION = 1_000_000


class Price(Spec):
    """What a million tokens cost."""

    currency: str = Field(default="USD", min_length=1, max_length=16)
    prompt: float = Field(ge=0.0, allow_inf_nan=False)
    completion: float = Field(ge=0.0, allow_inf_nan=False)
    cached: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    """Of the prompt tokens that the engine had in its prefix cache. None: as much as others."""

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str], variable: str = "DRAGOMAN_LLM", replies: bool = True
    ) -> "Price | None":
        """Reads `<variable>_PRICE_PROMPT`, _PRICE_CACHED and _PRICE_COMPLETION; None where none of them is set.

        The currency is DRAGOMAN_LLM_CURRENCY. `replies`: False of an engine that writes none, of embeddings, say.

        Raises InvalidSpec for what is no price, and where the price of prompts or of replies is missing.
        """
        names = {what: f"{variable}_PRICE_{what.upper()}" for what in ("prompt", "cached", "completion")}
        if not replies:
            del names["cached"], names["completion"]
        told = {what: environ.get(name) for what, name in names.items()}
        currency = environ.get("DRAGOMAN_LLM_CURRENCY") or "USD"
        if not any(told.values()):
            return None
        prices = {what: _number(names[what], raw) for what, raw in told.items() if raw or what != "cached"}
        cached, completion = prices.get("cached"), prices.get("completion", 0.0)
        return cls(currency=currency, prompt=prices["prompt"], completion=completion, cached=cached)

    def of(self, prompt: int, cached: int, completion: int) -> float:
        """Returns what tokens cost, where `cached` of those of the prompt came out of the prefix cache."""
        known = self.prompt if self.cached is None else self.cached
        return (self.prompt * (prompt - cached) + known * cached + self.completion * completion) / _MILLION

    def spend(self, prompt: int, cached: int = 0, completion: int = 0) -> dict[str, float]:
        """Returns what tokens cost, under the name that it has in a manifest."""
        return {f"spend_{self.currency}": self.of(prompt, cached, completion)}

    def at_most(self, prompt: int, completion: int) -> float:
        """Returns the most that tokens cost, whatever the engine has in its cache."""
        return max(self.of(prompt, cached, completion) for cached in (0, prompt))


def spent(price: Price | None, statistics: Mapping[str, Json]) -> dict[str, float]:
    """Returns what the tokens in an artifact's statistics cost, for its manifest; nothing where no price is known."""
    if price is None:
        return {}
    prompt, cached, completion = (
        int(str(statistics[name])) for name in ("prompt_tokens", "cached_tokens", "completion_tokens")
    )
    return price.spend(prompt, cached, completion)


def added(*costs: Mapping[str, float]) -> dict[str, float]:
    """Returns sums of costs by currency."""
    total: dict[str, float] = {}
    for name, cost in (item for each in costs for item in each.items()):
        total[name] = total.get(name, 0.0) + cost
    return total


def _number(name: str, raw: str | None) -> float:
    if not raw:
        raise InvalidSpec(f"{name} is not set and no price is guessed; set it, to 0 where nothing is paid", field=name)
    try:
        value = float(raw)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < math.inf:
        raise InvalidSpec(f"{raw!r} is no price of a million tokens; expected a number from 0", field=name)
    return value
