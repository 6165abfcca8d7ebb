"""Prompts for texts that fit a description, and for texts that do not.

Few-shot and to be gone on with, as all prompts here: five fragments an item. Further texts of one description come from
the same worked examples in another order, so that a model at temperature 0 writes others too.
"""

import re
from collections.abc import Sequence

from scorer.core.examples import NEUTRAL, WRITTEN
from scorer.core.prompts import shown

VERSION = "texts-1"
BATCH = 5
"""Fragments that one prompt asks for."""
STOP = ("\n\n", "\nDescription")

_TASKS = {
    WRITTEN: "Each item has a description and five fragments of text. What is described occurs in all five.",
    NEUTRAL: "Each item has a description and five fragments of text. What is described occurs in none of them.",
}
_SHOTS: Sequence[tuple[str, Sequence[str]]] = (
    (
        "names of months and days",
        (
            "The meeting was moved from Monday to the second week of March.",
            "On a Sunday in June the whole family went down to the lake.",
            "He was born on the ninth of November in a small town.",
            "Every Thursday the market fills the square until noon.",
            "The rain did not end before the last days of April.",
        ),
    ),
    (
        "negation and denial",
        (
            "He could not say why, and nobody asked him; it was never spoken of.",
            "There was no answer to the letter, and no second one was sent.",
            "She had never seen so many ships, nor had anyone else there.",
            "They would hear nothing of it, neither then nor later.",
            "Nobody denied it, but nobody would say that it was so.",
        ),
    ),
    (
        "words about cooking and food",
        (
            "Cut the onions and let them brown slowly in butter.",
            "A pot of soup stood on the stove beside the bread.",
            "He ate cold beef with mustard and a plate of beans.",
            "Boil the rice, add salt, and stir in the cheese.",
            "The kitchen smelt of garlic, pepper and roast lamb.",
        ),
    ),
    (
        "animals, especially horses",
        (
            "Two grey mares stood in the stable, and the old dog slept.",
            "A flock of sheep came down from the hills behind the goats.",
            "She rode the pony across the meadow to where the cows lay.",
            "The horses were led out at six, and the foals ran ahead.",
            "Two cats sat on the wall and watched the pigeons.",
        ),
    ),
)
MOST = BATCH * len(_SHOTS)
"""Texts of a description that can be asked for."""
_LINE = re.compile(r"^[ \t]*\d+[.)][ \t]*(\S.*)$", re.MULTILINE)


def text_prompts(kind: str, explanation: str, count: int) -> list[str]:
    """Returns the prompts for `count` texts of a description, at most MOST; each asks for BATCH of them."""
    return [_prompt(kind, explanation, turn) for turn in range(-(-count // BATCH))]


def texts_of(reply: str) -> list[str]:
    """Returns the fragments of a reply, which goes on after the number of the first; at most BATCH."""
    return [line.strip() for line in _LINE.findall(f"1.{reply}")][:BATCH]


def _prompt(kind: str, explanation: str, turn: int) -> str:
    """Among the worked texts in which something does not occur are those of the next description."""
    numbers = [(turn + i) % len(_SHOTS) for i in range(len(_SHOTS))]
    further = 0 if kind == WRITTEN else 1
    worked = "".join(f"{_head(_SHOTS[n][0])}{_listed(_SHOTS[(n + further) % len(_SHOTS)][1])}\n\n" for n in numbers)
    return f"{_TASKS[kind]}\n\n{worked}{_head(shown(explanation))}1."


def _head(description: str) -> str:
    return f"Description: {description}\nFragments:\n"


def _listed(texts: Sequence[str]) -> str:
    return "\n".join(f"{number}. {text}" for number, text in enumerate(texts, start=1))
