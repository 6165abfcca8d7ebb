"""The verbaliser behind an HTTP endpoint of Neuronpedia's form: POST /api/nla/explain, one text and one position."""

import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
from dragoman.errors import FailedPrecondition, UserTaskError
from dragoman.llm import Failure, FailureKind, LLMUnavailable, ResponseCache, RetryPolicy, request_key
from dragoman.llm.address import is_loopback
from dragoman.llm.retry import passes, retry_after, server_message
from dragoman.telemetry import register_secret

from explainer.spec import NlaRef
from explainer.verbaliser import Place

_PATH = "/api/nla/explain"
_CONCURRENCY = 4
_TIMEOUT_S = 60.0
_RETRY = RetryPolicy(attempts=6, deadline=180.0)


@dataclass(frozen=True, slots=True)
class NlaEndpoint:
    """Where the verbaliser is. Connects only when it is asked something."""

    url: str = ""
    api_key: str = field(default="", repr=False)
    model: str = ""
    source: str = ""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Reads EXPLAINER_NLA_URL, _API_KEY, _MODEL and _SOURCE; the key is kept out of every later log line."""
        names = ("URL", "API_KEY", "MODEL", "SOURCE")
        url, key, model, source = (environ.get(f"EXPLAINER_NLA_{name}", "") for name in names)
        register_secret(key)
        return cls(url.rstrip("/"), key, model, source)


class NlaClient:
    """Implements `explainer.verbaliser.Verbaliser`."""

    def __init__(self, endpoint: NlaEndpoint, cache: ResponseCache | None = None) -> None:
        self._endpoint = endpoint
        self._cache = cache

    def resolve(self, nla: NlaRef) -> NlaRef:
        """See Verbaliser.resolve."""
        if not self._endpoint.url:
            raise FailedPrecondition(
                "this server has no activation verbaliser; its operator sets EXPLAINER_NLA_URL to the address of one",
                reason="NLA_UNAVAILABLE",
            )
        names = {"model": nla.model or self._endpoint.model, "source": nla.source or self._endpoint.source}
        return nla.model_copy(update=names)

    def describe(self, places: Sequence[Place], nla: NlaRef) -> Iterator[tuple[int, str | Failure]]:
        """See Verbaliser.describe. A reply is kept by its request, so that a repeated task reads the same texts."""
        with (
            httpx.Client(timeout=_TIMEOUT_S, trust_env=not is_loopback(self._endpoint.url)) as http,
            ThreadPoolExecutor(_CONCURRENCY) as pool,
        ):
            asked = {pool.submit(self._described, http, place, nla): i for i, place in enumerate(places)}
            try:
                for done in as_completed(asked):
                    yield asked[done], done.result()
            finally:
                for future in asked:
                    future.cancel()

    def _described(self, http: httpx.Client, place: Place, nla: NlaRef) -> str | Failure:
        body: dict[str, Any] = {
            "modelId": nla.model,
            "nlaSourceId": nla.source,
            "text": place.text,
            "positions": [place.position],
            "temperature": nla.temperature,
        }
        key = request_key("nla/explain", body)
        stored = self._cache.get(key) if self._cache else None
        if stored is not None:
            return _text(stored)
        reply = self._answered(http, body)
        if isinstance(reply, Failure):
            return reply
        said = _text(reply)
        return _text(self._cache.keep(key, reply)) if self._cache and isinstance(said, str) else said

    def _answered(self, http: httpx.Client, body: Mapping[str, Any]) -> bytes | Failure:
        headers = {"x-api-key": self._endpoint.api_key} if self._endpoint.api_key else {}
        jitter, end, words = random.Random(), time.monotonic() + _RETRY.deadline, ""
        for retry in range(_RETRY.attempts):
            asked_wait = None
            try:
                response = http.post(self._endpoint.url + _PATH, json=body, headers=headers)
            except httpx.TransportError as error:
                words = str(error) or type(error).__name__
            else:
                if not passes(response.status_code):
                    return self._read(response)
                words, asked_wait = f"HTTP {response.status_code}: {server_message(response)}", retry_after(response)
            wait = _RETRY.wait(retry, asked_wait, jitter)
            if time.monotonic() + wait >= end:
                break
            time.sleep(wait)
        raise LLMUnavailable(
            f"the activation verbaliser at {self._endpoint.url} does not answer ({self._redacted(words)}); start it or "
            "correct EXPLAINER_NLA_URL",
            reason="NLA_UNAVAILABLE",
        )

    def _read(self, response: httpx.Response) -> bytes | Failure:
        if response.is_success:
            return response.content
        words = self._redacted(server_message(response))
        if response.status_code in (400, 413, 422):
            return Failure(FailureKind.REFUSED, f"the verbaliser refused this text: {words}")
        raise UserTaskError(
            f"the activation verbaliser at {self._endpoint.url} answered HTTP {response.status_code}: {words}; check "
            "EXPLAINER_NLA_URL, EXPLAINER_NLA_API_KEY, nla.model and nla.source",
            reason="NLA_REJECTED",
        )

    def _redacted(self, text: str) -> str:
        return text.replace(self._endpoint.api_key, "[key]") if self._endpoint.api_key else text


def _text(reply: bytes) -> str | Failure:
    try:
        said = [item.get("description") or "" for item in json.loads(reply)["results"]]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        return Failure(FailureKind.UNPARSABLE, f"not a verbaliser's reply ({error!r}): {reply[:200]!r}")
    text = " ".join(part for part in said if part).strip()
    return text or Failure(FailureKind.UNPARSABLE, "the verbaliser said nothing of this text")
