"""A language model that answers by rule: tests arithmetic, never quality."""

from collections.abc import Callable, Iterator, Sequence

from explainer.core.prompt import Prompt
from explainer.spec import LlmRef
from explainer.writer import Written

Rule = Callable[[Prompt], Written]


def last_line(prompt: Prompt) -> Written:
    """Names the marked tokens."""
    return Written(f"[EXPLANATION]: the tokens {prompt.question.rsplit('Marked tokens: ', 1)[1]}", "stop", 100, 60, 7)


class ScriptedWriter:
    """Implements `explainer.writer.Writer`; answers in reverse order, as an engine may."""

    def __init__(self, rule: Rule = last_line, counts: bool = True) -> None:
        """`counts`: whether it can say how many tokens (here words) a prompt has."""
        self._rule = rule
        self.counts = counts
        self.prompts: list[Prompt] = []

    def resolve(self, llm: LlmRef) -> LlmRef:
        return llm.model_copy(update={"model": llm.model or "scripted"})

    def write(self, prompts: Sequence[Prompt], llm: LlmRef, seed: int) -> Iterator[tuple[int, Written]]:
        self.prompts += prompts
        for index in reversed(range(len(prompts))):
            yield index, self._rule(prompts[index])

    def count(self, prompts: Sequence[Prompt], llm: LlmRef) -> Sequence[int] | None:
        return [len(prompt.text().split()) for prompt in prompts] if self.counts else None
