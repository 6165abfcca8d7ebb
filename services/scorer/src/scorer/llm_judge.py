"""The judge behind an OpenAI-compatible engine: one token an answer, with its log-probabilities.

Prompts are plain text to go on with (`/v1/completions`), not a conversation: a chat template would put its closing
tokens after every window, where no prefix cache reaches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

from dragoman.errors import InvalidSpec, TransientTaskError, Unavailable, UserTaskError
from dragoman.llm import (
    Abilities,
    Answer,
    Completion,
    Endpoint,
    Failure,
    FailureKind,
    LLMClient,
    ResponseCache,
    Sampling,
    settled,
)
from dragoman.llm.engine import tells_logprobs, tells_prompt_logprobs
from dragoman.llm.reply import read_answer
from dragoman.llm.token_count import count_tokens

from scorer.core.judgement import ANSWERED, Verdict
from scorer.core.planned import prompts_of
from scorer.core.requests import Choice, Contrast, Request, Simulation
from scorer.core.scorers.method import LOGPROBS, PROMPT_LOGPROBS
from scorer.echoing import contrasts, simulations
from scorer.spec import LlmRef
from scorer.stepping import stepped

_CANDIDATES = 20
_PATIENCE_S = 5.0
"""How long a submission waits for an engine to show what it can do."""
_PROBES = {LOGPROBS: tells_logprobs, PROMPT_LOGPROBS: tells_prompt_logprobs}
_LACKS = "ENGINE_LACKS"


class LlmJudge:
    """Implements `scorer.judge.Judge`. Connects only when it is asked something."""

    def __init__(self, endpoint: Endpoint, cache: ResponseCache | None = None) -> None:
        self._endpoint = endpoint
        self._cache = cache
        self._abilities = Abilities(endpoint, _PROBES)

    def resolve(self, llm: LlmRef, needs: frozenset[str] = frozenset()) -> LlmRef:
        """See Judge.resolve. An engine that is too busy to say what it can do is asked again when the job begins."""
        model = self._endpoint.resolve(llm.model)
        try:
            lacking = [
                n for n in sorted(needs & _PROBES.keys()) if self._abilities.can_within(model, n, _PATIENCE_S) is False
            ]
        except TransientTaskError as error:
            raise Unavailable(error.message, reason=error.reason) from error
        if lacking:
            raise InvalidSpec(_lacks(model, lacking), field="llm.model", reason=_LACKS)
        return llm.model_copy(update={"model": model, "max_tokens": 1})

    def verdicts(self, requests: Sequence[Request], llm: LlmRef) -> Iterator[tuple[int, Verdict]]:
        """See Judge.verdicts. An engine that refuses to tell log-probabilities is asked for the bare answer.

        A question that times out while others are answered is a failure of its own. Where none is answered the engine
        is at fault: LLMTimeout is raised, and the task is tried again later.
        """
        with self._endpoint.client(llm.model, self._cache) as client:
            if requests and isinstance(requests[0], Contrast):
                self._must(llm.model, PROMPT_LOGPROBS)
                yield from contrasts(client, cast("Sequence[Contrast]", requests))
            elif requests and isinstance(requests[0], Simulation):
                self._must(llm.model, LOGPROBS)
                yield from self._simulated(client, cast("Sequence[Simulation]", requests), llm)
            else:
                yield from self._chosen(client, cast("Sequence[Choice]", requests), llm)

    def planned(self, requests: Sequence[Request], llm: LlmRef) -> Sequence[str]:
        """See Judge.planned."""
        at_once = any(isinstance(request, Simulation) and not request.fed_back for request in requests)
        echoes = at_once and self._abilities.can(llm.model, PROMPT_LOGPROBS)
        return [prompt for request in requests for prompt in prompts_of(request, echoes)]

    def count(self, prompts: Sequence[str], llm: LlmRef) -> Sequence[int] | None:
        """See Judge.count."""
        return count_tokens(self._endpoint, llm.model, prompts)

    def _simulated(
        self, client: LLMClient, requests: Sequence[Simulation], llm: LlmRef
    ) -> Iterator[tuple[int, Verdict]]:
        if requests[0].fed_back or not self._abilities.can(llm.model, PROMPT_LOGPROBS):
            return stepped(client, requests)
        return simulations(client, requests)

    def _chosen(self, client: LLMClient, requests: Sequence[Choice], llm: LlmRef) -> Iterator[tuple[int, Verdict]]:
        try:
            yield from _asked(client, requests, llm, _CANDIDATES)
            return
        except UserTaskError as error:
            if error.reason != "LLM_REJECTED" or self._abilities.can(llm.model, LOGPROBS):
                raise
        yield from _asked(client, requests, llm, 0)

    def _must(self, model: str, need: str) -> None:
        """Where submit could not know: raises UserTaskError for an engine that lacks what is needed."""
        if not self._abilities.can(model, need):
            raise UserTaskError(_lacks(model, [need]), reason=_LACKS)


def _lacks(model: str, lacking: Sequence[str]) -> str:
    return (
        f"the engine tells no {' and no '.join(lacking)} for {model!r}, which this scorer needs; choose another "
        "scorer, or an engine that does (vLLM tells both)"
    )


def _asked(
    client: LLMClient, requests: Sequence[Choice], llm: LlmRef, candidates: int
) -> Iterator[tuple[int, Verdict]]:
    # A seed makes sampled answers repeatable, and so fit for the response cache.
    seed = 0 if llm.temperature > 0.0 else None
    sampling = Sampling(max_tokens=1, temperature=llm.temperature, seed=seed, top_logprobs=candidates)
    for index, reply in settled(client, [request.prompt for request in requests], sampling):
        yield index, verdict(reply, requests[index].answers)


def verdict(reply: Completion | Failure, answers: Sequence[str]) -> Verdict:
    """Reads a reply. Without log-probabilities the choice is the word that was said, and shares are None.

    Of two answers the second is chosen when both are as likely, of more the first of the likeliest.
    """
    if isinstance(reply, Failure):
        return Verdict(reply.kind.value)
    spent = Verdict(
        ANSWERED,
        prompt_tokens=reply.usage.prompt,
        cached_tokens=reply.usage.cached,
        completion_tokens=reply.usage.completion,
    )
    if reply.top_logprobs:
        answer = read_answer(reply, answers)
        if isinstance(answer, Answer):
            shares = tuple(answer.share(word) for word in answers)
            return replace(spent, choice=likeliest(shares), shares=shares)
        return replace(spent, outcome=answer.kind.value)
    said = [word.casefold() for word in answers]
    word = reply.text.strip().casefold()
    if word not in said:
        return replace(spent, outcome=FailureKind.UNPARSABLE.value)
    return replace(spent, choice=said.index(word))


def likeliest(shares: Sequence[float]) -> int:
    """Returns the number of the answer that is chosen."""
    if len(shares) == 2:
        return 0 if shares[0] > 0.5 else 1
    return max(range(len(shares)), key=lambda i: (shares[i], -i))
