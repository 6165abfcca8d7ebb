"""How many tokens an engine would read, asked of the engine itself: its tokenizer and its chat template.

No call of OpenAI's API tells that. vLLM counts texts and conversations at `/tokenize`; llama.cpp's server writes a
conversation out at `/apply-template` and splits texts at `/tokenize`. Other engines cannot be asked.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from dragoman.llm.address import api_root, auth_headers, is_loopback
from dragoman.llm.endpoint import Endpoint
from dragoman.llm.prompt import ChatPrompt, Prompt
from dragoman.llm.retry import LLMUnavailable

_TIMEOUT_S = 30.0
_MARGIN = 1.25  # another tokenizer's count is rarely further off
_TURN_TOKENS = 8  # what a chat template puts around a turn


def estimated(token_count: int, turns: int = 0) -> int:
    """Returns about how many tokens an engine reads of a text that another tokenizer splits into so many.

    turns: of a conversation; 0 for a plain text.
    """
    return round(_MARGIN * token_count) + _TURN_TOKENS * turns


def count_tokens(endpoint: Endpoint, model: str, prompts: Sequence[Prompt]) -> list[int] | None:
    """Returns the tokens of each prompt as the engine would read it, None where it cannot tell.

    Raises:
        LLMUnavailable: the engine cannot be reached.
    """
    root = api_root(endpoint.url).removesuffix("/v1")
    counts: list[int] = []
    try:
        with httpx.Client(
            headers=auth_headers(endpoint.api_key), timeout=_TIMEOUT_S, trust_env=not is_loopback(root)
        ) as http:
            for prompt in prompts:
                found = _count(http, root, model, prompt)
                if found is None:
                    return None
                counts.append(found)
    except httpx.TransportError as error:
        raise LLMUnavailable(
            f"no engine can be reached at {endpoint.url} ({error}); start it or correct its address"
        ) from error
    return counts


def _count(http: httpx.Client, root: str, model: str, prompt: Prompt) -> int | None:
    if isinstance(prompt, ChatPrompt):
        return _count_chat(http, root, model, prompt)
    return _split(http, root, prompt) or _counted(http, root, {"model": model, "prompt": prompt})


def _count_chat(http: httpx.Client, root: str, model: str, prompt: ChatPrompt) -> int | None:
    messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
    written = _asked(http, f"{root}/apply-template", {"messages": messages})
    if written is None or "prompt" not in written:
        return _counted(http, root, {"model": model, "messages": messages})
    return _split(http, root, written["prompt"])


def _counted(http: httpx.Client, root: str, body: Mapping[str, Any]) -> int | None:
    """As vLLM tells it."""
    counted = _asked(http, f"{root}/tokenize", body)
    return int(counted["count"]) if counted is not None and "count" in counted else None


def _split(http: httpx.Client, root: str, text: str) -> int | None:
    """As llama.cpp's server tells it."""
    split = _asked(http, f"{root}/tokenize", {"content": text, "add_special": True, "parse_special": True})
    return len(split["tokens"]) if split is not None and "tokens" in split else None


def _asked(http: httpx.Client, url: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
    response = http.post(url, json=body)
    if not response.is_success:
        return None
    try:
        reply: Any = response.json()
    except ValueError:
        return None
    return reply if isinstance(reply, dict) else None
