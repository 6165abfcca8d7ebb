"""A conversation for an explainer: a fixed beginning, which a prefix cache saves reading twice, then the windows."""

from collections.abc import Sequence
from dataclasses import dataclass

from explainer.core.example import Example, marked_text, marked_tokens, strengths_text
from explainer.core.reply import TAG


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is told, worked questions with their answers, and the question."""

    instructions: str
    shots: Sequence[tuple[str, str]]
    question: str
    stop: tuple[str, ...] = ("\n- ", "\nMarked tokens:")
    """Where the reply ends: a small model that goes on after its answer invents the next question."""

    def text(self) -> str:
        """Returns all of it as one readable text, as it is stored beside an explanation."""
        turns = [f"[user]\n{asked}\n\n[assistant]\n{answered}" for asked, answered in self.shots]
        return "\n\n".join([f"[system]\n{self.instructions}", *turns, f"[user]\n{self.question}"])


def question(examples: Sequence[Example], strengths: bool = True) -> str:
    """Returns the windows in the order given, each with the strengths of its marked tokens, then all marked tokens."""
    strongest = max(float(e.activations.max()) for e in examples)
    windows = [(marked_text(e), strengths_text(e, strongest) if strengths else "") for e in examples]
    return question_text(windows, marked_tokens(examples))


def question_text(windows: Sequence[tuple[str, str]], tokens: str) -> str:
    """Returns marked texts, each with its strengths (where there are any) on a second line, and all marked tokens."""
    lines = [f"- {text}\n  {strengths}" if strengths else f"- {text}" for text, strengths in windows]
    return "\n".join([*lines, f"Marked tokens: {tokens}"])


def answer(explanation: str) -> str:
    """Returns a reply as the model shall write it."""
    return f"{TAG} {explanation}"
