"""Settings of this service, beside those of the shell. See README.md for each variable."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from dragoman.errors import InvalidSpec
from dragoman.llm import Endpoint

from explainer.nla_client import NlaEndpoint
from explainer.spec import Price

_CONCURRENCY = 4
_TIMEOUT_S = 600.0  # four prompts of 1,500 tokens side by side take minutes on a laptop


@dataclass(frozen=True, slots=True)
class Config:
    """What the environment says of the language model, its price, and the activation verbaliser."""

    engine: Endpoint
    verbaliser: NlaEndpoint = field(default_factory=NlaEndpoint)
    price: Price | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Config":
        """Reads DRAGOMAN_LLM_*, EXPLAINER_LLM_* and EXPLAINER_NLA_*. Raises InvalidSpec for what is no such number."""
        engine = Endpoint.from_env(environ, "EXPLAINER", _CONCURRENCY, _TIMEOUT_S)
        return cls(engine, NlaEndpoint.from_env(environ), _price(environ))


def _price(environ: Mapping[str, str]) -> Price | None:
    """Returns what tokens cost; None where no price is set."""
    prices = [environ.get(f"DRAGOMAN_LLM_PRICE_{what}", "") for what in ("PROMPT", "COMPLETION")]
    currency = environ.get("DRAGOMAN_LLM_CURRENCY") or "USD"
    if not any(prices):
        return None
    prompt, completion = (_number(environ, f"DRAGOMAN_LLM_PRICE_{what}") for what in ("PROMPT", "COMPLETION"))
    return Price(currency=currency, prompt=prompt, completion=completion)


def _number(environ: Mapping[str, str], name: str) -> float:
    raw = environ.get(name) or "0"
    try:
        value = float(raw)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < math.inf:
        raise InvalidSpec(f"{raw!r} is no price of a million tokens; expected a number from 0", field=name)
    return value
