"""What comes back: completions, answers with their probabilities, and failures of single prompts."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast


class FailureKind(StrEnum):
    """Why one prompt has no reply although the engine works."""

    REFUSED = "refused"
    UNPARSABLE = "unparsable"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Failure:
    """One prompt's failure: recorded by the caller, never retried."""

    kind: FailureKind
    message: str


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A candidate token as text and its natural log-probability."""

    token: str
    logprob: float


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request. `cached` prompt tokens came out of the engine's prefix cache."""

    prompt: int
    cached: int
    completion: int


@dataclass(frozen=True, slots=True)
class Completion:
    """An engine's reply.

    top_logprobs: candidates of the first new token, likeliest first; empty unless asked for.
    latency: seconds of the request that succeeded; 0 when `cached`, that is, replayed from the response cache.
    """

    text: str
    finish_reason: str
    top_logprobs: tuple[TokenLogprob, ...]
    usage: Usage
    latency: float = 0.0
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A one-token answer: the log-probability of each allowed answer, -inf where it was not among the candidates."""

    logprobs: Mapping[str, float]
    completion: Completion

    @property
    def mass(self) -> float:
        """Probability that any of the answers is given, in [0, 1]."""
        return sum(math.exp(logprob) for logprob in self.logprobs.values())

    def share(self, answer: str) -> float:
        """Probability of `answer` among the answers, in [0, 1]."""
        return math.exp(self.logprobs[answer]) / self.mass


class ReplyError(ValueError):
    """A reply that is not of OpenAI's form."""


def parse_completion(content: bytes) -> Completion:
    """Read a reply of `chat/completions` or `completions`.

    Raises:
        ReplyError: not JSON, or not of that form.
    """
    try:
        reply = json.loads(content)
        choice = reply["choices"][0]
        text = choice["message"].get("content") if "message" in choice else choice["text"]
        return Completion(
            text=text or "",
            finish_reason=str(choice.get("finish_reason")),
            top_logprobs=_first_candidates(choice.get("logprobs")),
            usage=parse_usage(reply.get("usage")),
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        start = content[:200].decode("utf-8", "replace")
        raise ReplyError(f"not a completion of OpenAI's form ({error!r}): {start!r}") from error


def _first_candidates(logprobs: Any) -> tuple[TokenLogprob, ...]:
    """Candidates of the first token, in the chat form (`content`) or the older completions form (`top_logprobs`)."""
    if not logprobs:
        return ()
    if logprobs.get("content"):
        listed = cast("list[dict[str, Any]]", logprobs["content"][0]["top_logprobs"])
        found = [(item["token"], item["logprob"]) for item in listed]
    else:
        older = cast("list[dict[str, Any] | None]", logprobs.get("top_logprobs") or [None])
        found = list((older[0] or {}).items())
    candidates = [TokenLogprob(str(token), float(logprob)) for token, logprob in found]
    return tuple(sorted(candidates, key=lambda candidate: -candidate.logprob))


def parse_usage(usage: Any) -> Usage:
    """Tokens of a request, as the engine counted them; 0 where it does not say."""
    counts = cast("dict[str, Any]", usage or {})
    details = cast("dict[str, Any]", counts.get("prompt_tokens_details") or {})
    return Usage(
        prompt=int(counts.get("prompt_tokens") or 0),
        cached=int(details.get("cached_tokens") or 0),
        completion=int(counts.get("completion_tokens") or 0),
    )


def read_answer(completion: Completion, answers: Sequence[str]) -> Answer | Failure:
    """Sum the probabilities of all candidate tokens that spell an answer, whatever their spaces and case.

    A tokenizer may give "Yes", " Yes" and "YES" as three tokens; they all say yes.
    """
    totals = dict.fromkeys(answers, 0.0)
    spelled = {answer.strip().casefold(): answer for answer in answers}
    for candidate in completion.top_logprobs:
        answer = spelled.get(candidate.token.strip().casefold())
        if answer is not None:
            totals[answer] += math.exp(candidate.logprob)
    if not any(totals.values()):
        seen = [candidate.token for candidate in completion.top_logprobs[:5]]
        return Failure(FailureKind.UNPARSABLE, f"expected one of {list(answers)} as the first token, likeliest: {seen}")
    logprobs = {answer: math.log(total) if total else -math.inf for answer, total in totals.items()}
    return Answer(logprobs, completion)
