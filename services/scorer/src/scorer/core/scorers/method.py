"""What a scorer is: which windows it needs, which examples it makes of them, what the judge is asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Int
from latent_cache import Window

from scorer.core.examples import Example


@dataclass(frozen=True, slots=True)
class Counts:
    """Examples asked for, by right answer."""

    active: int
    inactive: int

    def limited(self, available: int) -> "Counts":
        """Returns the counts for a latent with this many activating test windows: as asked, in proportion."""
        if available >= self.active:
            return self
        return Counts(available, max(self.inactive * available // self.active, min(available, 1)))


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """The windows drawn for a latent."""

    latent: int
    active: Sequence[Window]
    """Spread over activation deciles, in seeded order."""
    quantiles: Int[np.ndarray, " active"]
    silent: Sequence[Window]


class Method(Protocol):
    """A scorer. Instances are stateless."""

    name: str
    version: str
    """Goes with every result; changes when the same windows would give other questions."""
    prefix: str
    """What every prompt begins with."""

    def active_needed(self, counts: Counts) -> int:
        """How many activating windows to draw."""
        ...

    def silent_needed(self, counts: Counts) -> int:
        """How many silent windows to draw."""
        ...

    def examples(self, drawn: Drawn, counts: Counts, seed: int) -> list[Example]:
        """Makes the examples, in any order. Fewer than asked where the windows do not allow more."""
        ...

    def text(self, example: Example, pieces: Sequence[str]) -> str:
        """Returns the window as the judge sees it, given the text of each token."""
        ...
