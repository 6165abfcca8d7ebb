"""Latents whose rule is known, in real text: each fires on some words of speeches, and what its explanation is worth
is known too.

Scores must differ for a rank correlation of scores to mean something. So some explanations are right, some too narrow,
too wide or too vague, and some are of something else. A piece is a word or a run of punctuation, 1.1 tokens or so.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LENGTH = 32
"""Pieces of a window."""
_PIECE = re.compile(r"\s*(?:\w+|[^\w\s]+)")
_FILES = 80


@dataclass(frozen=True, slots=True)
class Window:
    """Pieces of text, and the first on which the latent fires (None: it is silent)."""

    pieces: Sequence[str]
    at: int | None

    def text(self, length: int) -> str:
        """Returns `length` pieces on one line, the one on which the latent fires among them."""
        place = len(self.pieces) // 2 if self.at is None else self.at
        first = min(max(0, place - length + length // 4), len(self.pieces) - length)
        return " " + " ".join("".join(self.pieces[first : first + length]).split())


@dataclass(frozen=True, slots=True)
class Latent:
    """A rule, what is said of it, and windows to judge: positives and negatives in turn."""

    name: str
    explanation: str
    windows: Sequence[Window]


_CONCEPTS: Sequence[tuple[str, str, str]] = (
    ("months", "january february march april june july august september october november december", "names of months"),
    ("farming", "farm farms farmer farmers agriculture agricultural crop crops harvest", "religion and prayer"),
    ("money", "dollars dollar cents gold silver coin currency", "amounts of money, coins and currency"),
    ("sea", "navy naval ship ships vessel vessels fleet sea seas", "travel"),
    ("schools", "school schools education teacher teachers student students college", "schools and education"),
    ("railways", "railroad railroads railway railways canal canals", "the members of a family"),
    ("war", "war wars army troops soldiers battle enemy military", "danger"),
    ("negation", "not no never nor none neither nothing", "negations such as no, not and never"),
    ("courts", "court courts judge judges judicial judiciary", "the Supreme Court of the United States"),
    ("us", "we our us ourselves", "names of foreign countries"),
    ("countries", "mexico spain france britain england russia china japan cuba germany", "names of foreign countries"),
    ("health", "health medicare medical doctor doctors hospital hospitals disease", "the well-being of people"),
    ("taxes", "tax taxes tariff tariffs duties taxation", "duties on imported goods"),
    ("god", "god almighty providence divine lord prayer", "religion and prayer"),
    ("land", "land lands acres territory territories settlers", "words that end a sentence"),
    ("children", "children child family families mother mothers father parents", "the members of a family"),
)
"""Name, the words on which it fires, explanation."""
MOST = len(_CONCEPTS)


def latents(speeches: Path, count: int, examples: int, seed: int = 0) -> list[Latent]:
    """Returns the first `count` latents, each with so many windows in which it fires and as many in which it does not.

    Windows are drawn without replacement, by a seed of the latent's own.
    """
    files = sorted(speeches.rglob("*.txt"))
    files = random.Random(seed).sample(files, min(_FILES, len(files)))
    texts = [_PIECE.findall(file.read_text(encoding="utf-8", errors="replace")) for file in files]
    grid = [text[first : first + LENGTH] for text in texts for first in range(0, len(text) - LENGTH, LENGTH)]
    return [_latent(*concept, grid, examples, seed) for concept in _CONCEPTS[:count]]


def _latent(name: str, words: str, explanation: str, grid: Sequence[Sequence[str]], examples: int, seed: int) -> Latent:
    rule = frozenset(words.split())
    order = random.Random(f"{seed}/{name}").sample(range(len(grid)), len(grid))
    found: dict[bool, list[Window]] = {True: [], False: []}
    for index in order:
        at = next((i for i, piece in enumerate(grid[index]) if piece.strip().casefold() in rule), None)
        found[at is not None].append(Window(grid[index], at))
    if len(found[True]) < examples:
        raise SystemExit(f"{name} fires in {len(found[True])} windows; ask for fewer --examples")
    pairs = zip(found[True][:examples], found[False][:examples], strict=True)
    return Latent(name, explanation, [window for pair in pairs for window in pair])
