"""The writer behind an OpenAI-compatible engine."""

from collections.abc import Iterator, Sequence

from dragoman.llm import ChatPrompt, Completion, Endpoint, Failure, ResponseCache, Sampling, settled

from explainer.core.prompt import Prompt
from explainer.spec import LlmRef
from explainer.writer import Written

# A small model that goes on after its answer invents the next question.
_STOP = ("\n- ", "\nMarked tokens:")
_SEED_BITS = 31


class LlmWriter:
    """Implements `explainer.writer.Writer`. Connects only when it is asked something."""

    def __init__(self, endpoint: Endpoint, cache: ResponseCache | None = None) -> None:
        self._endpoint = endpoint
        self._cache = cache

    def resolve(self, llm: LlmRef) -> LlmRef:
        """See Writer.resolve."""
        return llm.model_copy(update={"model": self._endpoint.resolve(llm.model)})

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
        with self._endpoint.client(llm.model, self._cache) as client:
            for index, reply in settled(client, chats, sampling):
                yield index, written(reply)


def written(reply: Completion | Failure) -> Written:
    """Returns a reply in this service's terms."""
    if isinstance(reply, Failure):
        return Written("", "", failure=reply.kind.value, reason=reply.message)
    usage = reply.usage
    return Written(reply.text, reply.finish_reason, usage.prompt, usage.cached, usage.completion)
