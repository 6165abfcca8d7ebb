"""What an explainer may know of a latent. Each explainer takes its part of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from explainer.core.example import Example


@dataclass(frozen=True, slots=True)
class OutputEvidence:
    """Tokens that a latent makes likelier or less likely, the farthest first; empty where it was not measured."""

    promoted: Sequence[str] = ()
    """Strongest tokens of the decoder row put through the unembedding (VocabProj, Gur-Arieh et al. 2501.08319)."""
    suppressed: Sequence[str] = ()
    raised: Sequence[str] = ()
    """Tokens whose log-probability rises most when the latent is turned up (TokenChange, the same)."""
    lowered: Sequence[str] = ()

    def __bool__(self) -> bool:
        return any((self.promoted, self.suppressed, self.raised, self.lowered))


@dataclass(frozen=True, slots=True)
class Passage:
    """What a verbaliser said of one activation, and how strong the latent was there, 1 to 10."""

    text: str
    strength: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """What there is to explain one latent from."""

    examples: Sequence[Example] = ()
    """Windows in which it fires, the strongest first."""
    counters: Sequence[Example] = ()
    """Windows in which it is silent."""
    output: OutputEvidence = OutputEvidence()
    passages: Sequence[Passage] = ()
    sentence: str = ""
    """For explainers that ask no model: the text to take."""
    show_strengths: bool = True
    seed: int = 0
    """For an order of the latent's own."""
