"""What a scorer is: which windows it needs, which examples it makes of them, what an engine is asked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from jaxtyping import Int
from latent_cache import Window

from scorer.core.examples import RANDOM, Example
from scorer.core.requests import Request

Pieces = Callable[[Window], Sequence[str]]
"""Returns the text of each token of a window."""
LOGPROBS, PROMPT_LOGPROBS, EMBEDDINGS = "log-probabilities", "prompt log-probabilities", "embeddings"
"""What an engine can do, and some scorers need."""
EFFECTS = "effects"
"""An effects artifact, whose texts are judged in place of windows."""
TEXTS = "latents over written texts"
"""Latents over the tokens of a texts artifact; no engine is asked."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Examples asked for, by right answer."""

    active: int
    negatives: Mapping[str, int]
    """By type, those of which there are none left out."""

    @property
    def inactive(self) -> int:
        """Negatives of all types."""
        return sum(self.negatives.values())

    def limited(self, available: int) -> "Counts":
        """Returns the counts for a latent with this many activating test windows: as asked, in proportion."""
        if available >= self.active:
            return self
        least = min(available, 1)
        return Counts(available, {t: max(n * available // self.active, least) for t, n in self.negatives.items()})


@dataclass(frozen=True, slots=True)
class Least:
    """The fewest windows of which a scorer can ask a single question; of its null, unless that is left out."""

    active: int = 1
    inactive: int = 1
    null: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """The windows drawn for a latent."""

    latent: int
    active: Sequence[Window]
    """Spread over activation deciles, in seeded order."""
    quantiles: Int[np.ndarray, " active"]
    negatives: Mapping[str, Sequence[Window]] = field(default_factory=dict[str, Sequence[Window]])
    """Windows in which the latent is silent, by type."""

    rivals: Mapping[int, Sequence[Window]] = field(default_factory=dict[int, Sequence[Window]])
    """Windows of latents with like labels, where this one is silent; activations are theirs. Of scorers of steered
    texts: those of other latents, after the same prompts."""

    written: int = 0
    """Of texts that the model went on with: how many tokens at their ends are the model's own."""

    @property
    def silent(self) -> Sequence[Window]:
        """Silent windows drawn at random."""
        return self.negatives.get(RANDOM, ())


class Method(Protocol):
    """A scorer. Instances are stateless."""

    name: str
    version: str
    """Goes with every result; changes when the same windows would give other questions."""
    prefix: str
    """What every prompt begins with."""
    form: str
    """Which metrics there are: one of `measures.FORMS`."""
    choices: int
    """Answers to choose from."""
    needs: frozenset[str]
    """What the engine must be able to do, and which artifact is needed besides."""
    label_free: bool
    """Whether no explanation is shown."""
    negative_types: frozenset[str]
    """Types of negatives that it can take, beside RANDOM; empty where it makes its own."""
    rivals: int
    """How many latents with like labels it needs windows of, or beside how many its steered texts stand."""
    least: Least
    """What fewer windows than that would make it: a job that asks nothing."""

    def active_needed(self, counts: Counts) -> int:
        """How many activating windows to draw."""
        ...

    def silent_needed(self, counts: Counts, null_count: int) -> int:
        """How many silent windows to draw at random."""
        ...

    def examples(self, drawn: Drawn, counts: Counts, seed: int) -> list[Example]:
        """Makes the examples, in any order. Fewer than asked where the windows do not allow more."""
        ...

    def null_examples(self, drawn: Drawn, counts: Counts, seed: int, count: int) -> list[Example]:
        """Makes the examples of a label-free scorer's null; the null of others shows another latent's explanation."""
        ...

    def request(self, example: Example, explanation: str, pieces: Pieces) -> Request:
        """Returns what the engine is asked; the explanation is "" where none is shown."""
        ...
