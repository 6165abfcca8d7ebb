"""Which failures pass by themselves, how long to wait for that, and what to say when they do not."""

import email.utils
import json
import random
import time
from dataclasses import dataclass
from typing import Any

import httpx

from dragoman.errors import TransientTaskError, UserTaskError
from dragoman.llm.reply import Failure, FailureKind

_PASSING = frozenset({408, 409, 425, 429})
_ABOUT_THIS_PROMPT = frozenset({413, 422})
_CODES_ABOUT_THIS_PROMPT = ("context", "content_filter", "content_policy", "max_tokens")


class LLMTimeout(TransientTaskError):
    """The engine did not answer in time."""

    reason = "LLM_TIMEOUT"


class LLMUnavailable(TransientTaskError):
    """The engine cannot be reached or is failing."""

    reason = "LLM_UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off with full jitter, after "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).

    attempts: requests in all. base, cap: seconds, the n-th wait is uniform in [0, min(cap, base * 2**n)].
    deadline: seconds for one prompt, waits included.
    """

    attempts: int = 8
    base: float = 0.5
    cap: float = 20.0
    deadline: float = 600.0

    def wait(self, retry: int, retry_after: float | None, generator: random.Random) -> float:
        """Seconds before retry number `retry`, from 0; never less than the server asked for."""
        jitter = generator.uniform(0.0, min(self.cap, self.base * 2.0 ** min(retry, 30)))
        return max(jitter, retry_after or 0.0)


def passes(status: int) -> bool:
    """Whether a request that got this HTTP status may work later."""
    return status in _PASSING or status >= 500


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that a Retry-After header asks for, given in seconds or as a date."""
    value = response.headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return None
        return max(0.0, moment.timestamp() - time.time())


def server_message(response: httpx.Response) -> str:
    """The server's own words, from OpenAI's error object if it is one; at most 300 characters."""
    try:
        error: Any = json.loads(response.content)["error"]
        text = error if isinstance(error, str) else error["message"]
    except (ValueError, LookupError, TypeError):
        text = response.text
    return str(text).strip()[:300] or f"no message (HTTP {response.status_code})"


def rejection(response: httpx.Response, url: str, model: str) -> Failure | UserTaskError:
    """What a final 4xx means: a failure of this prompt alone, or an error that every prompt would meet."""
    status, words = response.status_code, server_message(response)
    if status in _ABOUT_THIS_PROMPT or (status == 400 and _about_this_prompt(response)):
        return Failure(FailureKind.REFUSED, f"the engine refused this prompt (HTTP {status}): {words}")
    if status in (401, 403):
        advice = "check the API key (DRAGOMAN_LLM_API_KEY)"
    elif status == 404:
        advice = f"check the address and that the engine serves a model called {model!r} (DRAGOMAN_LLM_MODEL)"
    else:
        advice = "the engine does not accept requests of this form; check its model and settings"
    return UserTaskError(f"the engine at {url} answered HTTP {status}: {words}; {advice}", reason="LLM_REJECTED")


def _about_this_prompt(response: httpx.Response) -> bool:
    try:
        error = json.loads(response.content)["error"]
        code = f"{error.get('code')} {error.get('type')} {error.get('message')}".lower()
    except (ValueError, LookupError, TypeError, AttributeError):
        return False
    return any(word in code for word in _CODES_ABOUT_THIS_PROMPT)
