"""What an engine can do, found out by asking it."""

import json
from dataclasses import dataclass

import httpx

from dragoman.errors import FailedPrecondition, Unavailable, UserTaskError
from dragoman.llm.address import api_root, auth_headers, is_loopback
from dragoman.llm.client import LLMClient
from dragoman.llm.echo import Echo
from dragoman.llm.prompt import ChatPrompt, Prompt, Sampling
from dragoman.llm.reply import Completion
from dragoman.llm.retry import RetryPolicy, server_message

_TEXT = "The sky is blue on a clear day. Is it? Answer:"
_PROMPT = ChatPrompt.of("Answer with one word. " + "Is the sky blue on a clear day? " * 8)
_SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """An engine's models and abilities. `model` is the one that was tried."""

    url: str
    models: tuple[str, ...]
    model: str
    logprobs: bool
    json_schema: bool
    prefix_cache: bool
    prompt_logprobs: bool = False
    """Whether it tells how likely the tokens of a given text were."""


def models(
    base_url: str, api_key: str | None = None, *, timeout: float = 5.0, variable: str = "DRAGOMAN_LLM"
) -> tuple[str, ...]:
    """Names of the models that the engine serves. `variable` begins the names of its settings.

    Raises:
        Unavailable: nothing answers at that address, or what answers is no OpenAI-compatible engine.
        FailedPrecondition: the key is refused.
    """
    url = f"{api_root(base_url)}/models"
    try:
        response = httpx.get(url, headers=auth_headers(api_key), timeout=timeout, trust_env=not is_loopback(url))
    except httpx.ReadTimeout as error:
        raise Unavailable(
            f"the language-model engine at {base_url} is there, but did not say within {timeout:g} s which models it "
            "serves; it is busy: try again later",
            reason="LLM_BUSY",
        ) from error
    except httpx.HTTPError as error:
        raise Unavailable(
            f"no language-model engine answers at {base_url} ({error}); start one (`dragoman up` does) "
            f"or set {variable}_URL to its address",
            reason="LLM_UNAVAILABLE",
        ) from error
    if response.status_code in (401, 403):
        raise FailedPrecondition(f"the engine at {base_url} refuses the API key; set {variable}_API_KEY to its key")
    try:
        return tuple(str(entry["id"]) for entry in response.raise_for_status().json()["data"])
    except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
        words = server_message(response)
        raise Unavailable(
            f"{url} answers like no OpenAI-compatible engine (HTTP {response.status_code}: {words}); "
            f"set {variable}_URL to the address of one",
            reason="LLM_UNAVAILABLE",
        ) from error


def probe(base_url: str, api_key: str | None = None, *, model: str | None = None, timeout: float = 60.0) -> EngineInfo:
    """Ask the engine for its models and try on one of them log-probabilities, of new tokens and of the prompt's, a JSON
    schema and the prefix cache.

    Args:
        model: the model to try; the first one served if None.

    Raises:
        Unavailable, FailedPrecondition: as `models`; also FailedPrecondition when `model` is not served.
    """
    served = models(base_url, api_key)
    tried = model or (served[0] if served else "")
    if tried not in served:
        raise FailedPrecondition(f"the engine at {base_url} does not serve {tried!r}; it serves {list(served)}")
    with LLMClient(base_url, tried, api_key=api_key, timeout=timeout, retry=RetryPolicy(attempts=2)) as client:
        first = _ask(client, Sampling(max_tokens=1, top_logprobs=5))
        again = _ask(client, Sampling(max_tokens=1, top_logprobs=5))
        formed = _ask(client, Sampling(max_tokens=32, json_schema=_SCHEMA))
        echoed = tells_prompt_logprobs(client)
    return EngineInfo(
        url=base_url,
        models=served,
        model=tried,
        logprobs=first is not None and len(first.top_logprobs) > 1,
        json_schema=formed is not None and _fits_schema(formed.text),
        prefix_cache=again is not None and again.usage.cached > 0,
        prompt_logprobs=echoed,
    )


def tells_logprobs(client: LLMClient) -> bool:
    """Whether the engine tells how likely the candidates of a text's next token are. Raises as `complete_many`."""
    reply = _ask(client, Sampling(max_tokens=1, top_logprobs=5), _TEXT)
    return reply is not None and len(reply.top_logprobs) > 1


def tells_prompt_logprobs(client: LLMClient) -> bool:
    """Whether the engine tells how likely the tokens of a given text are. Raises as `complete_many`."""
    try:
        [(_, reply)] = client.echo_many([_TEXT])
    except UserTaskError:
        return False
    return isinstance(reply, Echo)


def _ask(client: LLMClient, sampling: Sampling, prompt: Prompt = _PROMPT) -> Completion | None:
    """One reply, or None when the engine refuses this kind of request."""
    try:
        [(_, reply)] = client.complete_many([prompt], sampling)
    except UserTaskError:
        return None
    return reply if isinstance(reply, Completion) else None


def _fits_schema(text: str) -> bool:
    try:
        return isinstance(json.loads(text).get("ok"), bool)
    except (ValueError, AttributeError):
        return False
