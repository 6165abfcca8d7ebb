"""Settings of this service, beside those of the shell. See README.md for each variable."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dragoman.llm import Endpoint

from explainer.nla_client import NlaEndpoint

_CONCURRENCY = 4
_TIMEOUT_S = 600.0  # four prompts of 1,500 tokens side by side take minutes on a laptop


@dataclass(frozen=True, slots=True)
class Config:
    """What the environment says of the language model and the activation verbaliser."""

    engine: Endpoint
    verbaliser: NlaEndpoint = field(default_factory=NlaEndpoint)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Config":
        """Reads DRAGOMAN_LLM_*, EXPLAINER_LLM_* and EXPLAINER_NLA_*. Raises InvalidSpec for what is no such number."""
        engine = Endpoint.from_env(environ, "EXPLAINER", _CONCURRENCY, _TIMEOUT_S)
        return cls(engine, NlaEndpoint.from_env(environ))
