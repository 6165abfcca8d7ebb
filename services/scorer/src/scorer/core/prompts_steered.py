"""Prompts about texts that a model wrote with a latent turned up.

Intervention: the passage, then a fixed phrase that the explanation goes on with, as published; no worked examples,
since nothing is to be answered. Output: few-shot, as the other prompts (see prompts.py); each letter is twice the
answer.
"""

from collections.abc import Sequence

from scorer.core.prompts import one_line, shown

SETS = ("A", "B", "C")

_OUTPUT_TASK = (
    "Each item has a description and three sets of fragments of text. Different models wrote them; one of the models "
    "was made to write more of what is described. Give the letter of its set."
)
_OUTPUT_SHOTS: Sequence[tuple[str, Sequence[Sequence[str]], str]] = (
    (
        "names of months and days",
        (
            (" of the house and the old", " who had not been seen since", " and then the water rose"),
            (" on a Monday in late March", " until the second of November", " every Thursday, and on Friday"),
            (" not, never, nor was there", " no one could say, and nothing", " nobody had not refused"),
        ),
        "B",
    ),
    (
        "words about cooking and food",
        (
            (" soup and the bread and butter", " a kitchen that smelt of onions", " boiled the rice, then salt"),
            (" in 1848 and again in 1852", " about forty miles, or sixty", " twelve of the nineteen who"),
            (" she said softly to her sister", " and so they went on until", " by the gate where it had been"),
        ),
        "A",
    ),
    (
        "animals, especially horses",
        (
            (" because it was so, because he", " and therefore, since then,", " so that it follows that"),
            (" the treaty was signed in the", " had asked for the letter to be", " as the parliament voted on"),
            (" the mare and her two foals", " grazing horses, a sheep dog", " rode the pony to the stable"),
        ),
        "C",
    ),
    (
        "negation and denial",
        (
            (" over the hills to the sea", " with a lamp beside the bed", " which the captain had sent"),
            (" red and green and pale blue", " a yellow coat, a purple hat", " painted the door white"),
            (" not, never, nor was there", " no one could say, and nothing", " nobody had not refused"),
        ),
        "C",
    ),
    (
        "numbers and quantities",
        (
            (" a mare ran across the meadow", " where the old dog slept", " sheep on the far side of it"),
            (" in 1848 and again in 1852", " about forty miles, or sixty", " twelve of the nineteen who"),
            (" the window was open, and a", " that she had left on the table", " to his brother in the town"),
        ),
        "B",
    ),
    (
        "colours",
        (
            (" red and green and pale blue", " a yellow coat, a purple hat", " painted the door white"),
            (" on a Monday in late March", " until the second of November", " every Thursday, and on Friday"),
            (" soup and the bread and butter", " a kitchen that smelt of onions", " boiled the rice, then salt"),
        ),
        "A",
    ),
)


def passage_prompt(passage: str) -> str:
    """Returns what an explanation is the end of, after a text."""
    return f"{passage}\n\nThe passage above contains an amplified amount of"


def output_prefix() -> str:
    """Returns what every output prompt begins with."""
    worked = "".join(f"{_item(description, sets)} {answer}\n\n" for description, sets, answer in _OUTPUT_SHOTS)
    return f"{_OUTPUT_TASK}\n\n{worked}"


def output_question(prefix: str, explanation: str, sets: Sequence[Sequence[str]]) -> str:
    """Returns a whole prompt, to be answered with one of SETS."""
    return f"{prefix}{_item(shown(explanation), sets)}"


def _item(description: str, sets: Sequence[Sequence[str]]) -> str:
    listed = (f"{name}:{' /'.join(map(one_line, texts))}" for name, texts in zip(SETS, sets, strict=True))
    lines = "\n".join(listed)
    return f"Description: {description}\n{lines}\nSet:"
