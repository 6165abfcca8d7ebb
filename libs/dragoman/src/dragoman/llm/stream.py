"""A streamed reply put together again.

Replies are streamed even though they are only used whole: an engine notices that nobody waits for a stream any more
within one token, while llama.cpp's server finishes a plain request for minutes after its client has gone.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

import aiohttp
import httpx

_DATA = "data:"
_END = "[DONE]"
_KEPT = ("content-type", "retry-after")


def gather(status: int, headers: Mapping[str, str], content: bytes) -> httpx.Response:
    """Returns a whole reply; a stream of events becomes the plain reply that it spells.

    Raises:
        aiohttp.ClientPayloadError: the stream ended before the reply did.
    """
    if not headers.get("content-type", "").startswith("text/event-stream"):
        kept = {name: headers[name] for name in _KEPT if name in headers}  # the content is decoded already
        return httpx.Response(status, headers=kept, content=content)
    choice: dict[str, Any] = {"finish_reason": None}
    usage: Any = None
    for event in _events(content.decode("utf-8", "replace")):
        if "error" in event:
            return httpx.Response(_status(event["error"]), json=event)
        usage = event.get("usage") or usage
        for part in event.get("choices") or ():
            _add(choice, part)
    if choice["finish_reason"] is None:
        raise aiohttp.ClientPayloadError("the engine's stream ended before its reply did")
    return httpx.Response(200, json={"choices": [choice], "usage": usage})


def _events(text: str) -> Iterator[dict[str, Any]]:
    for line in text.split("\n"):
        if not line.startswith(_DATA):
            continue
        data = line.removeprefix(_DATA).strip()
        if data == _END:
            return
        try:
            event = json.loads(data)
        except ValueError as error:
            raise aiohttp.ClientPayloadError(f"the engine sent an event that is not JSON: {data[:200]!r}") from error
        yield event


def _add(choice: dict[str, Any], part: dict[str, Any]) -> None:
    """Append one event's text and candidates, of either API, to the choice so far."""
    if "delta" in part:
        message = cast("dict[str, str]", choice.setdefault("message", {"role": "assistant", "content": ""}))
        message["content"] += part["delta"].get("content") or ""
    else:
        choice["text"] = choice.get("text", "") + (part.get("text") or "")
    choice["finish_reason"] = part.get("finish_reason") or choice["finish_reason"]
    logprobs = cast("dict[str, Any]", part.get("logprobs") or {})
    if any(logprobs.values()) and "logprobs" not in choice:
        choice["logprobs"] = logprobs  # those of the first token, the only ones that are used


def _status(error: Any) -> int:
    """The HTTP status that an error inside a stream stands for."""
    code = cast("dict[str, Any]", error).get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 500
