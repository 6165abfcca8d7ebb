"""Settings of this service, beside those of the shell. See README.md for each variable."""

from collections.abc import Mapping
from dataclasses import dataclass

from dragoman.llm import Endpoint

_CONCURRENCY = 4
_TIMEOUT_S = 300.0  # the first question of a latent also reads the prefix


@dataclass(frozen=True, slots=True)
class Config:
    """What the environment says of the judge and the embedder."""

    engine: Endpoint
    embedder: Endpoint

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Config":
        """Reads DRAGOMAN_LLM_*, DRAGOMAN_EMBED_*, SCORER_LLM_* and SCORER_EMBED_*.

        Raises InvalidSpec for what is no number.
        """
        return cls(
            Endpoint.from_env(environ, "SCORER", _CONCURRENCY, _TIMEOUT_S),
            Endpoint.from_env(environ, "SCORER", _CONCURRENCY, _TIMEOUT_S, role="EMBED"),
        )
