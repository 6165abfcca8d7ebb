"""Settings of this service, beside those of the shell. See README.md for each variable."""

from collections.abc import Mapping
from dataclasses import dataclass

from dragoman.errors import InvalidSpec

from scorer.llm_judge import Engine

_DEFAULT_URL = "http://127.0.0.1:8090"
_CONCURRENCY = 4
_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Config:
    """What the environment says of the judge."""

    engine: Engine

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Config":
        """Reads DRAGOMAN_LLM_* and SCORER_LLM_*. Raises InvalidSpec for what is no such number."""
        return cls(
            Engine(
                url=environ.get("DRAGOMAN_LLM_URL") or _DEFAULT_URL,
                api_key=environ.get("DRAGOMAN_LLM_API_KEY") or None,
                model=environ.get("DRAGOMAN_LLM_MODEL", ""),
                concurrency=round(_number(environ, "SCORER_LLM_CONCURRENCY", _CONCURRENCY, low=1.0)),
                timeout=_number(environ, "SCORER_LLM_TIMEOUT_S", _TIMEOUT_S, low=0.001),
            )
        )


def _number(environ: Mapping[str, str], name: str, default: float, low: float) -> float:
    raw = environ.get(name) or str(default)
    try:
        value = float(raw)
    except ValueError:
        value = -1.0
    if not low <= value < float("inf"):
        raise InvalidSpec(f"{raw!r} is no number from {low:g}; unset it for the default, {default:g}", field=name)
    return value
