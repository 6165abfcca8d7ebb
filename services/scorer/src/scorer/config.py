"""Settings of this service, beside those of the shell. See README.md for each variable."""

from collections.abc import Mapping
from dataclasses import dataclass

from dragoman.llm import Endpoint
from dragoman.llm.price import Price

_CONCURRENCY = 4
_TIMEOUT_S = 300.0  # the first question of a latent also reads the prefix


@dataclass(frozen=True, slots=True)
class Config:
    """What the environment says of the judge, its price, and the embedder."""

    engine: Endpoint
    embedder: Endpoint
    price: Price | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Config":
        """Reads DRAGOMAN_LLM_*, DRAGOMAN_EMBED_*, SCORER_LLM_* and SCORER_EMBED_*.

        DRAGOMAN_LLM_PRICE_* and DRAGOMAN_LLM_CURRENCY are what tokens cost. Raises InvalidSpec for what is no number.
        """
        return cls(
            Endpoint.from_env(environ, "SCORER", _CONCURRENCY, _TIMEOUT_S),
            Endpoint.from_env(environ, "SCORER", _CONCURRENCY, _TIMEOUT_S, role="EMBED"),
            Price.from_env(environ),
        )
