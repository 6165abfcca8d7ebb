"""The table of explainers: what a spec may name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from explainer.core import default
from explainer.core.example import Example
from explainer.core.prompt import Prompt
from explainer.core.reply import Reply, parse


@dataclass(frozen=True, slots=True)
class Explainer:
    """A way to ask for an explanation and to read the reply."""

    version: str
    """Of the prompt and of how the reply is read."""
    prompt: Callable[[Sequence[Example]], Prompt]
    parse: Callable[[str, str], Reply]
    """From the reply's text and the engine's finish reason."""


EXPLAINERS: Mapping[str, Explainer] = {"default": Explainer(default.VERSION, default.prompt, parse)}
