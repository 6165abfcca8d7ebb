"""A job kind that asks a language model one question: for testing what such a job costs and leaves behind."""

import os
from collections.abc import Iterator, Mapping, Sequence

from dragoman.artifacts import InputInfo, PartInfo
from dragoman.kinds import Checkpoint, Context, Part, Progress, Spec, Stage, Summary
from dragoman.llm import ChatPrompt, LLMClient


class AskSpec(Spec):
    """What to ask the engine at DRAGOMAN_LLM_URL."""

    text: str


class AskKind:
    """One task, one question, no parts."""

    name = "ask"
    version = 1
    description = "Asks a language model."
    spec = AskSpec
    input_kinds: Mapping[str, str] = {}

    def inputs(self, spec: AskSpec) -> Mapping[str, str]:
        return {}

    def resolve(self, spec: AskSpec) -> AskSpec:
        return spec

    def check(self, spec: AskSpec, inputs: Mapping[str, InputInfo]) -> None:
        return

    def plan(self, spec: AskSpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        return [Stage("ask", [{}])]

    def run(self, spec: AskSpec, context: Context) -> Iterator[Progress | Part | Checkpoint]:
        with LLMClient(os.environ["DRAGOMAN_LLM_URL"], "engine") as client:
            for _ in client.complete_many([ChatPrompt.of(spec.text)]):
                yield Progress(1, 1, "questions")

    def combine(self, spec: AskSpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        return Summary({})
