"""The judge behind an OpenAI-compatible engine: one token an answer, with its log-probabilities.

Prompts are plain text to go on with (`/v1/completions`), not a conversation: a chat template would put its closing
tokens after every window, where no prefix cache reaches.
"""

from collections.abc import Iterator, Sequence

from dragoman.errors import UserTaskError
from dragoman.llm import (
    Answer,
    Completion,
    Endpoint,
    Failure,
    FailureKind,
    LLMClient,
    ResponseCache,
    Sampling,
    probe,
    settled,
)
from dragoman.llm.reply import read_answer

from scorer.core.judgement import ANSWERED, Verdict
from scorer.core.prompts import ANSWERS
from scorer.spec import LlmRef

_CANDIDATES = 20
_YES = ANSWERS[0]


class LlmJudge:
    """Implements `scorer.judge.Judge`. Connects only when it is asked something."""

    def __init__(self, endpoint: Endpoint, cache: ResponseCache | None = None) -> None:
        self._endpoint = endpoint
        self._cache = cache

    def resolve(self, llm: LlmRef) -> LlmRef:
        """See Judge.resolve."""
        return llm.model_copy(update={"model": self._endpoint.resolve(llm.model), "max_tokens": 1})

    def verdicts(self, prompts: Sequence[str], llm: LlmRef) -> Iterator[tuple[int, Verdict]]:
        """See Judge.verdicts. An engine that refuses to tell log-probabilities is asked for the bare answer.

        A question that times out while others are answered is a failure of its own. Where none is answered the engine
        is at fault: LLMTimeout is raised, and the task is tried again later.
        """
        candidates = _CANDIDATES
        with self._endpoint.client(llm.model, self._cache) as client:
            try:
                yield from _asked(client, prompts, llm, candidates)
                return
            except UserTaskError as error:
                if error.reason != "LLM_REJECTED" or self._tells_logprobs(llm.model):
                    raise
            yield from _asked(client, prompts, llm, 0)

    def _tells_logprobs(self, model: str) -> bool:
        return probe(self._endpoint.url, self._endpoint.api_key, model=model).logprobs


def _asked(client: LLMClient, prompts: Sequence[str], llm: LlmRef, candidates: int) -> Iterator[tuple[int, Verdict]]:
    # A seed makes sampled answers repeatable, and so fit for the response cache.
    seed = 0 if llm.temperature > 0.0 else None
    sampling = Sampling(max_tokens=1, temperature=llm.temperature, seed=seed, top_logprobs=candidates)
    for index, reply in settled(client, prompts, sampling):
        yield index, verdict(reply)


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
