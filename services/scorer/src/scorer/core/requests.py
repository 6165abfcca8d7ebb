"""What an engine is asked for one question."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Choice:
    """Go on with a prompt by one of some answers, each one token."""

    prompt: str
    answers: Sequence[str]


@dataclass(frozen=True, slots=True)
class Nearness:
    """Embed texts: how much nearer, by mean cosine, is `query` to `near` than to `far` (0 where nothing is)?"""

    query: str
    near: Sequence[str]
    far: Sequence[str] = ()

    @property
    def texts(self) -> list[str]:
        """All texts to be embedded."""
        return [self.query, *self.near, *self.far]


@dataclass(frozen=True, slots=True)
class Contrast:
    """How much likelier is `text` after `prompt` than after `baseline`, in nats? Needs prompt log-probabilities."""

    prompt: str
    baseline: str
    text: str


@dataclass(frozen=True, slots=True)
class Simulation:
    """Predict a strength, 0 to 9, for each of a window's tokens, given those before it."""

    prompt: str
    tokens: Sequence[str]
    fed_back: bool
    """Whether what was predicted for a token is told with the tokens after it (token by token), or nothing is (all at
    once)."""


@dataclass(frozen=True, slots=True)
class Known:
    """Nothing: what ranks the example was measured already."""

    value: float


Request = Choice | Nearness | Contrast | Simulation | Known
