"""The writer behind an OpenAI-compatible engine."""

from collections.abc import Iterator, Sequence

from dragoman.llm import ChatPrompt, Completion, Endpoint, Failure, ResponseCache, Sampling, settled
from dragoman.llm.token_count import count_tokens

from explainer.core.prompt import Prompt
from explainer.spec import LlmRef
from explainer.writer import Written

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
        """See Writer.write. Prompts of one call are of one explainer, and stop alike.

        A prompt that times out while others are answered is a failure of its own. Where none is answered the engine
        is at fault: LLMTimeout is raised, and the task is tried again later.
        """
        if not prompts:
            return
        chats = [_chat(prompt) for prompt in prompts]
        # A seed makes sampled replies repeatable, and so fit for the response cache.
        own_seed = seed % (1 << _SEED_BITS) if llm.temperature > 0.0 else None
        sampling = Sampling(llm.max_tokens, llm.temperature, seed=own_seed, stop=prompts[0].stop)
        with self._endpoint.client(llm.model, self._cache) as client:
            for index, reply in settled(client, chats, sampling):
                yield index, written(reply)

    def count(self, prompts: Sequence[Prompt], llm: LlmRef) -> Sequence[int] | None:
        """See Writer.count."""
        return count_tokens(self._endpoint, llm.model, [_chat(prompt) for prompt in prompts])


def _chat(prompt: Prompt) -> ChatPrompt:
    return ChatPrompt.of(prompt.question, system=prompt.instructions, turns=prompt.shots)


def written(reply: Completion | Failure) -> Written:
    """Returns a reply in this service's terms."""
    if isinstance(reply, Failure):
        return Written("", "", failure=reply.kind.value, reason=reply.message)
    usage = reply.usage
    return Written(reply.text, reply.finish_reason, usage.prompt, usage.cached, usage.completion)
