"""How likely a given text was, token by token: a completion that echoes its prompt with log-probabilities.

OpenAI's older completions API; vLLM speaks it, llama.cpp's server does not.
"""

import json
from dataclasses import dataclass
from typing import Any

from dragoman.llm.reply import ReplyError, TokenLogprob, Usage, parse_usage


@dataclass(frozen=True, slots=True)
class EchoedToken:
    """A token of the prompt."""

    offset: int
    """Where it begins, characters."""
    text: str
    logprob: float | None
    """Natural log-probability after all that is before it; None for the first token."""
    candidates: tuple[TokenLogprob, ...]
    """The likeliest tokens there, likeliest first."""


@dataclass(frozen=True, slots=True)
class Echo:
    """A prompt's tokens. `latency` and `cached` as in Completion."""

    tokens: tuple[EchoedToken, ...]
    usage: Usage
    latency: float = 0.0
    cached: bool = False


def echo_body(model: str, prompt: str, candidates: int) -> dict[str, Any]:
    """The request's JSON body; one token is generated, since not every engine may generate none."""
    return {"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0.0, "echo": True, "logprobs": candidates}


def parse_echo(content: bytes) -> Echo:
    """Read a reply of `completions` with `echo`. Tokens that were generated are left out.

    Raises:
        ReplyError: not JSON, not of that form, or the prompt is not in it.
    """
    try:
        reply = json.loads(content)
        found: dict[str, Any] = reply["choices"][0]["logprobs"]
        usage = parse_usage(reply.get("usage"))
        columns = zip(
            found["text_offset"], found["tokens"], found["token_logprobs"],
            found.get("top_logprobs") or [None] * len(found["tokens"]), strict=True,
        )  # fmt: skip
        tokens = [EchoedToken(int(at), str(text), _number(p), _candidates(top)) for at, text, p, top in columns]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        start = content[:200].decode("utf-8", "replace")
        raise ReplyError(f"no prompt log-probabilities of OpenAI's form ({error!r}): {start!r}") from error
    prompt = tokens[: usage.prompt] if usage.prompt else tokens[:-1]
    if len(tokens) <= usage.completion or len(prompt) < 2 or any(token.logprob is None for token in prompt[1:]):
        raise ReplyError("the engine told the log-probabilities of new tokens only, not of the prompt's")
    return Echo(tuple(prompt), usage)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _candidates(top: Any) -> tuple[TokenLogprob, ...]:
    listed = [TokenLogprob(str(token), float(logprob)) for token, logprob in (top or {}).items()]
    return tuple(sorted(listed, key=lambda candidate: -candidate.logprob))
