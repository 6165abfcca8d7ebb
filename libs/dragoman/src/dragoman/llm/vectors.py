"""Embeddings: what an engine's `/v1/embeddings` says of one text."""

import json
from dataclasses import dataclass
from typing import Any

from dragoman.llm.reply import ReplyError, Usage, parse_usage


@dataclass(frozen=True, slots=True)
class Embedding:
    """One text's vector. `latency` and `cached` as in Completion."""

    vector: tuple[float, ...]
    usage: Usage
    latency: float = 0.0
    cached: bool = False


def embedding_body(model: str, text: str) -> dict[str, Any]:
    """The request's JSON body in OpenAI's form."""
    return {"model": model, "input": text, "encoding_format": "float"}


def parse_embedding(content: bytes) -> Embedding:
    """Read a reply of `embeddings`.

    Raises:
        ReplyError: not JSON, not of that form, or no vector in it.
    """
    try:
        reply = json.loads(content)
        vector = tuple(float(x) for x in reply["data"][0]["embedding"])
        usage = parse_usage(reply.get("usage"))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        start = content[:200].decode("utf-8", "replace")
        raise ReplyError(f"not an embedding of OpenAI's form ({error!r}): {start!r}") from error
    if not vector:
        raise ReplyError("the engine gave an embedding without numbers")
    return Embedding(vector, usage)
