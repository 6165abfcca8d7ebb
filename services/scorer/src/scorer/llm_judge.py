"""The judge behind an OpenAI-compatible engine: one token an answer, with its log-probabilities.

Prompts are plain text to go on with (`/v1/completions`), not a conversation: a chat template would put its closing
tokens after every window, where no prefix cache reaches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dragoman.errors import InvalidSpec, UserTaskError
from dragoman.llm import (
    Answer,
    Completion,
    Failure,
    FailureKind,
    LLMClient,
    LLMTimeout,
    ResponseCache,
    RetryPolicy,
    Sampling,
    probe,
)
from dragoman.llm.engine import models
from dragoman.llm.reply import read_answer
from dragoman.nearest import suggestion

from scorer.core.judgement import ANSWERED, TIMEOUT, Verdict
from scorer.core.prompts import ANSWERS
from scorer.spec import LlmRef

_CANDIDATES = 20
_YES = ANSWERS[0]


@dataclass(frozen=True, slots=True)
class Engine:
    """Where the judge is and how hard to push it."""

    url: str
    api_key: str | None = field(default=None, repr=False)
    model: str = ""
    """Used where a spec names none; empty means the first that the engine serves."""
    concurrency: int = 4
    """Questions in flight at once."""
    timeout: float = 300.0
    """Seconds for one answer; the first of a latent also reads the prefix."""


class LlmJudge:
    """Implements `scorer.judge.Judge`. Connects only when it is asked something."""

    def __init__(self, engine: Engine, cache: ResponseCache | None = None) -> None:
        self._engine = engine
        self._cache = cache

    def resolve(self, llm: LlmRef) -> LlmRef:
        """See Judge.resolve."""
        served = models(self._engine.url, self._engine.api_key)
        model = llm.model or self._engine.model or (served[0] if served else "")
        if model not in served:
            raise InvalidSpec(
                f"the language-model engine does not serve {model!r}; {suggestion(model, served)}",
                field="llm.model",
                reason="UNKNOWN_MODEL",
            )
        return llm.model_copy(update={"model": model, "max_tokens": 1})

    def verdicts(self, prompts: Sequence[str], llm: LlmRef) -> Iterator[tuple[int, Verdict]]:
        """See Judge.verdicts. An engine that refuses to tell log-probabilities is asked for the bare answer.

        A question that times out while others are answered is a failure of its own. Where none is answered the engine
        is at fault: LLMTimeout is raised, and the task is tried again later.
        """
        candidates = _CANDIDATES
        with self._client(llm.model) as client:
            try:
                yield from _asked(client, prompts, llm, candidates)
                return
            except UserTaskError as error:
                if error.reason != "LLM_REJECTED" or self._tells_logprobs(llm.model):
                    raise
            yield from _asked(client, prompts, llm, 0)

    def _client(self, model: str) -> LLMClient:
        engine = self._engine
        return LLMClient(
            engine.url,
            model,
            api_key=engine.api_key,
            max_concurrency=engine.concurrency,
            timeout=engine.timeout,
            retry=RetryPolicy(deadline=1.5 * engine.timeout),
            cache=self._cache,
        )

    def _tells_logprobs(self, model: str) -> bool:
        return probe(self._engine.url, self._engine.api_key, model=model).logprobs


def _asked(client: LLMClient, prompts: Sequence[str], llm: LlmRef, candidates: int) -> Iterator[tuple[int, Verdict]]:
    # A seed makes sampled answers repeatable, and so fit for the response cache.
    seed = 0 if llm.temperature > 0.0 else None
    sampling = Sampling(max_tokens=1, temperature=llm.temperature, seed=seed, top_logprobs=candidates)
    waiting = set(range(len(prompts)))
    try:
        for index, reply in client.complete_many(prompts, sampling):
            waiting.discard(index)
            yield index, verdict(reply)
    except LLMTimeout:
        if len(waiting) == len(prompts):
            raise
        for index in sorted(waiting):
            yield index, _alone(client, prompts[index], sampling)


def _alone(client: LLMClient, prompt: str, sampling: Sampling) -> Verdict:
    try:
        [(_, reply)] = client.complete_many([prompt], sampling)
    except LLMTimeout:
        return Verdict(TIMEOUT)
    return verdict(reply)


def verdict(reply: Completion | Failure) -> Verdict:
    """Reads a reply. Without log-probabilities the answer is the word that was said, and p_yes is None."""
    if isinstance(reply, Failure):
        return Verdict(reply.kind.value)
    tokens = (reply.usage.prompt, reply.usage.cached, reply.usage.completion)
    if reply.top_logprobs:
        answer = read_answer(reply, ANSWERS)
        if isinstance(answer, Answer):
            p_yes = answer.share(_YES)
            return Verdict(ANSWERED, p_yes > 0.5, p_yes, *tokens)
        return Verdict(answer.kind.value, None, None, *tokens)
    said = {word.casefold(): word == _YES for word in ANSWERS}.get(reply.text.strip().casefold())
    if said is None:
        return Verdict(FailureKind.UNPARSABLE.value, None, None, *tokens)
    return Verdict(ANSWERED, said, None, *tokens)
