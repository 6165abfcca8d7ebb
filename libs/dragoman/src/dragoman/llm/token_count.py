"""How many tokens an engine would read, asked of the engine itself: its tokenizer and its chat template.

No call of OpenAI's API tells that. vLLM counts a conversation at `/tokenize`; llama.cpp's server writes it out at
`/apply-template` and splits the text at `/tokenize`. Other engines cannot be asked.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from dragoman.llm.client import api_root, auth_headers, is_loopback
from dragoman.llm.endpoint import Endpoint
from dragoman.llm.prompt import ChatPrompt
from dragoman.llm.retry import LLMUnavailable

_TIMEOUT_S = 30.0


def count_tokens(endpoint: Endpoint, model: str, prompts: Sequence[ChatPrompt]) -> list[int] | None:
    """Returns the prompt tokens of each conversation as the engine would read it, None where it cannot tell.

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


def _count(http: httpx.Client, root: str, model: str, prompt: ChatPrompt) -> int | None:
    messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
    written = _asked(http, f"{root}/apply-template", {"messages": messages})
    if written is None or "prompt" not in written:
        counted = _asked(http, f"{root}/tokenize", {"model": model, "messages": messages})
        return int(counted["count"]) if counted is not None and "count" in counted else None
    split = _asked(http, f"{root}/tokenize", {"content": written["prompt"], "add_special": True, "parse_special": True})
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
