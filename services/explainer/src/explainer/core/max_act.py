"""A label of a few words from the strongest windows (MaxAct; Neuronpedia's short labels).

What is shown is little: the strongest token of each window and its text up to a few tokens behind it.
"""

from collections.abc import Sequence

from explainer.core.evidence import Evidence
from explainer.core.example import Example, name, one_line
from explainer.core.prompt import Prompt, answer
from explainer.core.reply import TAG

VERSION = "max_act-1"

BEFORE, AFTER = 16, 7
"""Tokens of a window that are shown before and after its strongest one: 24 in all."""

_INSTRUCTIONS = (
    "A unit of a language model is strongly active on the tokens below, each shown in its text. Name what it is active "
    "on, in one to six words: a label, not a sentence. Where the tokens are alike, name the token or its kind; where "
    "they are not, name the subject of the texts.\n"
    f"Your reply is one line that begins with {TAG}"
)
_SHOTS: Sequence[tuple[Sequence[tuple[str, str]], str]] = (
    (
        (("storm", "in the morning the storm had passed"), ("fog", "a cold fog lay over the harbour")),
        "weather",
    ),
    (
        (("of", "at the University of Vienna"), ("of", "he joined the Bank of England")),
        "'of' in names of institutions",
    ),
    (
        (("served", "the dish is served with lemon"), ("minutes", "bake it for twenty minutes until brown")),
        "cooking recipes",
    ),
)


def prompt(evidence: Evidence) -> Prompt:
    """Returns the prompt for windows, given strongest first."""
    turns = [(_listed(pairs), answer(label)) for pairs, label in _SHOTS]
    shown = [(name(example.texts[example.peak]), excerpt(example)) for example in evidence.examples]
    return Prompt(_INSTRUCTIONS, turns, _listed(shown), ("\n- ", "\nToken "))


def excerpt(example: Example, before: int = BEFORE, after: int = AFTER) -> str:
    """Returns the text around the strongest token on one line."""
    first = max(0, example.peak - before)
    return one_line("".join(example.texts[first : example.peak + after + 1])).strip()


def _listed(pairs: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"- {token} | {text}" for token, text in pairs)
