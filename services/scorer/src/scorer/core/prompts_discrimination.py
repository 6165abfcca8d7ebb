"""Prompts of discrimination: two descriptions and a marked fragment. Worked examples have either answer as often."""

from collections.abc import Sequence

CHOICES = ("A", "B")

_TASK = (
    "Each item has two descriptions and a fragment of text in which some tokens stand between << and >>. Say which "
    "description fits the marked tokens better."
)
_SHOTS: Sequence[tuple[tuple[str, str], str, str]] = (
    (("names of months", "names of days"), " the meeting was moved from<< Monday>> to the week after, when", "B"),
    (("animals", "words about cooking"), " of the stable, where two grey<< mares>> stood and the old<< dog>>", "A"),
    (("the word 'of' after a noun", "the word 'of' in names"), " a glass<< of>> water and a piece<< of>> bread", "A"),
    (("verbs of motion", "verbs of speech"), " he<< said>> that nobody had asked him; she<< replied>> that", "B"),
)


def discrimination_prefix() -> str:
    """Returns what every discrimination prompt begins with."""
    worked = "".join(f"{_item(labels, text)} {answer}\n\n" for labels, text, answer in _SHOTS)
    return f"{_TASK}\n\n{worked}"


def discrimination_question(prefix: str, labels: Sequence[str], text: str) -> str:
    """Returns a whole prompt, to be answered with one of CHOICES."""
    return f"{prefix}{_item(labels, text)}"


def _item(labels: Sequence[str], text: str) -> str:
    listed = "\n".join(f"{name}: {label}" for name, label in zip(CHOICES, labels, strict=True))
    return f"{listed}\nText:{text}\nFits better:"
