"""Dialogues with a language model about many latents, turn by turn, as many prompts side by side as there are."""

from collections.abc import Iterator, Sequence
from typing import Any

from explainer.core.evidence import Evidence
from explainer.core.explainers import Explainer
from explainer.core.prompt import Prompt
from explainer.core.reply import Reply
from explainer.spec import LlmRef
from explainer.writer import Writer, Written

_NEXT = "\n\n----\n\n"
"""Stands between the prompts, and the replies, of one dialogue in the table."""


class _Talk:
    """One latent's dialogue: what is asked now, what has been heard of it, and all that was said."""

    def __init__(self, number: int, explainer: Explainer, evidence: Evidence) -> None:
        self.number = number
        self._dialogue = explainer.begin(evidence)
        self.turn: Sequence[Prompt] = next(self._dialogue)
        self._heard: dict[int, Written] = {}
        self._said: list[tuple[Prompt, Written]] = []
        self.end: Reply | None = None

    def hear(self, place: int, written: Written) -> None:
        """Takes the reply to one prompt of the turn; goes on to the next turn, or the end, when all are there."""
        self._heard[place] = written
        if len(self._heard) < len(self.turn):
            return
        replies = [self._heard[i] for i in range(len(self.turn))]
        self._said += zip(self.turn, replies, strict=True)
        self._heard = {}
        try:
            self.turn = self._dialogue.send(replies)
        except StopIteration as stop:
            self.end = stop.value

    def row(self, model: str) -> dict[str, Any]:
        """Returns the columns that a dialogue fills, when it has ended."""
        assert self.end is not None
        counted = ("prompt_tokens", "cached_tokens", "completion_tokens")
        return {
            "prompt": _NEXT.join(prompt.text() for prompt, _ in self._said),
            "reply": _NEXT.join(written.text for _, written in self._said),
            "model": model,
            **{name: sum(getattr(written, name) for _, written in self._said) for name in counted},
            "outcome": self.end.outcome,
            "explanation": self.end.explanation,
            "reason": self.end.reason,
        }


def dialogues(
    explainer: Explainer, evidence: Sequence[Evidence], llm: LlmRef, seed: int, writer: Writer
) -> Iterator[tuple[int, dict[str, Any]] | None]:
    """Yields the index of a latent and its columns as its dialogue ends, and None as a sign of life between."""
    talks = [_Talk(number, explainer, each) for number, each in enumerate(evidence)]
    while talks:
        # Prompts of one call stop alike: a round of tests may stand beside another latent's refinement.
        for stop in dict.fromkeys(prompt.stop for talk in talks for prompt in talk.turn):
            going = [talk for talk in talks if talk.end is None]
            asked = [(talk, i, p) for talk in going for i, p in enumerate(talk.turn) if p.stop == stop]
            for index, written in writer.write([prompt for _, _, prompt in asked], llm, seed):
                talk, place, _ = asked[index]
                talk.hear(place, written)
                yield None if talk.end is None else (talk.number, talk.row(llm.model))
        talks = [talk for talk in talks if talk.end is None]
