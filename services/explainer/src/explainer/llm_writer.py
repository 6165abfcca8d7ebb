"""The writer behind an OpenAI-compatible engine."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dragoman.errors import InvalidSpec
from dragoman.llm import (
    ChatPrompt,
    Completion,
    Failure,
    LLMClient,
    LLMTimeout,
    ResponseCache,
    RetryPolicy,
    Sampling,
)
from dragoman.llm.engine import models
from dragoman.nearest import suggestion

from explainer.core.prompt import Prompt
from explainer.spec import LlmRef
from explainer.writer import Written

# A small model that goes on after its answer invents the next question.
_STOP = ("\n- ", "\nMarked tokens:")
_SEED_BITS = 31

CONCURRENCY = 4
TIMEOUT = 600.0  # four prompts of 1,500 tokens side by side take minutes on a laptop


@dataclass(frozen=True, slots=True)
class Engine:
    """Where the model is and how hard to push it."""

    url: str
    api_key: str | None = field(default=None, repr=False)
    model: str = ""
    """Used where a spec names none; empty means the first that the engine serves."""
    concurrency: int = CONCURRENCY
    timeout: float = TIMEOUT
    """Seconds for one reply."""


class LlmWriter:
    """Implements `explainer.writer.Writer`. Connects only when it is asked something."""

    def __init__(self, engine: Engine, cache: ResponseCache | None = None) -> None:
        self._engine = engine
        self._cache = cache

    def resolve(self, llm: LlmRef) -> LlmRef:
        """See Writer.resolve."""
        served = models(self._engine.url, self._engine.api_key)
        model = llm.model or self._engine.model or (served[0] if served else "")
        if model not in served:
            raise InvalidSpec(
                f"the language-model engine does not serve {model!r}; {suggestion(model, served)}",
                field="llm.model",
                reason="UNKNOWN_MODEL",
            )
        return llm.model_copy(update={"model": model})

    def write(self, prompts: Sequence[Prompt], llm: LlmRef, seed: int) -> Iterator[tuple[int, Written]]:
        """See Writer.write.

        A prompt that times out while others are answered is a failure of its own. Where none is answered the engine
        is at fault: LLMTimeout is raised, and the task is tried again later.
        """
        if not prompts:
            return
        chats = [ChatPrompt.of(p.question, system=p.instructions, turns=p.shots) for p in prompts]
        # A seed makes sampled replies repeatable, and so fit for the response cache.
        own_seed = seed % (1 << _SEED_BITS) if llm.temperature > 0.0 else None
        sampling = Sampling(llm.max_tokens, llm.temperature, seed=own_seed, stop=_STOP)
        waiting = set(range(len(prompts)))
        with self._client(llm.model) as client:
            try:
                for index, reply in client.complete_many(chats, sampling):
                    waiting.discard(index)
                    yield index, written(reply)
            except LLMTimeout:
                if len(waiting) == len(prompts):
                    raise
                for index in sorted(waiting):
                    yield index, _alone(client, chats[index], sampling)

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


def _alone(client: LLMClient, chat: ChatPrompt, sampling: Sampling) -> Written:
    try:
        [(_, reply)] = client.complete_many([chat], sampling)
    except LLMTimeout:
        return Written("", "", failure="timeout", reason="the engine gave no reply in time, though it answered others")
    return written(reply)


def written(reply: Completion | Failure) -> Written:
    """Returns a reply in this service's terms."""
    if isinstance(reply, Failure):
        return Written("", "", failure=reply.kind.value, reason=reply.message)
    usage = reply.usage
    return Written(reply.text, reply.finish_reason, usage.prompt, usage.cached, usage.completion)
