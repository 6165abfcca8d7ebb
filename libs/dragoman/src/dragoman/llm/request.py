"""One request to an engine: where it goes, what it says, how its reply is read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dragoman.llm.echo import Echo
from dragoman.llm.prompt import Prompt, Sampling, body_of, path_of
from dragoman.llm.reply import Completion, parse_completion
from dragoman.llm.vectors import Embedding

EngineReply = Completion | Embedding | Echo


@dataclass(frozen=True, slots=True)
class Request:
    """`path` of OpenAI's API, the JSON body, and what reads the reply."""

    path: str
    body: dict[str, Any]
    parse: Callable[[bytes], EngineReply]
    streamed: bool = False
    deterministic: bool = True
    """Whether the same request should get the same reply, so that it may be replayed."""
    short: bool = False
    """Whether the reply is of one token."""


def completion(model: str, prompt: Prompt, sampling: Sampling) -> Request:
    """Returns the request that goes on with a prompt."""
    return Request(
        path_of(prompt),
        body_of(model, prompt, sampling),
        parse_completion,
        streamed=True,
        deterministic=sampling.deterministic,
        short=sampling.max_tokens == 1,
    )
