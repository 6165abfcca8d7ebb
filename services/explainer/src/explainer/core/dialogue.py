"""How an explainer talks to a model: it puts prompts, hears their replies, and may then put others."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from explainer.core.prompt import Prompt
from explainer.core.reply import Reply, parse


@dataclass(frozen=True, slots=True)
class Heard:
    """The reply to one prompt, or why there is none. `finish_reason`: "stop", "length" or "content_filter"."""

    text: str
    finish_reason: str = "stop"
    failure: Literal["", "unparsable", "refused", "timeout"] = field(default="", kw_only=True)
    reason: str = field(default="", kw_only=True)


Dialogue = Generator[Sequence[Prompt], Sequence[Heard], Reply]
"""Yields the prompts of a turn, which may be put side by side, and is sent their replies; returns how it ended."""


def single(prompt: Prompt) -> Dialogue:
    """The dialogue of one prompt, whose reply holds the explanation."""
    [heard] = yield [prompt]
    return read(heard)


def read(heard: Heard) -> Reply:
    """Returns the explanation in a reply, or why there is none."""
    if heard.failure:
        return Reply(heard.failure, None, heard.reason)
    return parse(heard.text, heard.finish_reason)
