"""Examples: windows with a right answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from dragoman.errors import UserTaskError
from dragoman.ids import derived_seed
from jaxtyping import Bool
from latent_cache import Window

ACTIVE = "active"
RANDOM = "random"
WRONG_MARKS = "wrong_marks"
NEIGHBOUR = "neighbour"
NEAR = "embedding_near"
DECODER = "decoder_neighbour"
OTHER_DECILE = "other_decile"
SAME_DECILE = "same_decile"
SIMILAR_LABEL = "similar_label"
STEERED = "steered"
CLEAN = "clean"
WRITTEN = "written"
NEUTRAL = "neutral"
NATURAL = "natural"


class DocumentLeak(UserTaskError):
    """A window would be judged that comes from a document its explanation was written from."""

    reason = "DOCUMENT_LEAK"


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A window beside others in one question."""

    window: Window
    marks: Bool[np.ndarray, " pos"]
    quantile: int
    """Activation decile among the latent's test windows; -1 where it is silent."""
    near: bool = True
    """Whether it stands for the latent; otherwise for what the latent is not."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One window that a judge is asked about."""

    latent: int
    window: Window
    type: str
    """Where it comes from: one of the names above."""
    label: bool
    """The right answer; True is yes."""
    quantile: int
    """Activation decile among the latent's test windows, 0 the weakest; -1 for what is no positive."""
    marks: Bool[np.ndarray, " pos"]
    """The tokens shown between << and >>, where the scorer shows marks at all."""
    company: tuple[Shown, ...] = ()
    """All windows of the question in the order shown, where there are several."""
    place: int = 0
    """Number of the answer that means yes; of the right one, where one of several is to be picked."""
    series: int = 0
    """Tells examples with the same window apart."""
    rival: int | None = None
    """Another latent, whose explanation is shown too."""
    beside: str = ""
    """That explanation."""

    @property
    def id(self) -> str:
        """Names the example whatever the run, the order or the other examples."""
        series = f"/{self.series}" if self.series else ""
        return f"{self.latent}/{self.type}/{self.window.row}/{self.window.start}{series}"


@dataclass(frozen=True, slots=True)
class PlacedExample:
    """An example with its place among a latent's questions."""

    index: int
    example: Example


def placed(examples: Sequence[Example], seed: int) -> list[PlacedExample]:
    """Puts examples in a seeded order, which follows from the seed and the examples' ids alone.

    The label cannot be read from the place, and the order in which the examples come does not matter.
    """
    ranked = sorted(examples, key=lambda e: derived_seed("order", seed, e.id))
    return [PlacedExample(index, example) for index, example in enumerate(ranked)]


def interleaved(examples: Sequence[Example]) -> list[PlacedExample]:
    """Places positives and negatives in turn, each in the order given, so that every beginning is balanced."""
    by_label = [[e for e in examples if e.label is label] for label in (True, False)]
    turns = [(turn / len(own), own[turn]) for own in by_label for turn in range(len(own))]
    turns.sort(key=lambda item: item[0])  # stable: of two whose turn it is, the positive
    return numbered([example for _, example in turns])


def numbered(examples: Sequence[Example]) -> list[PlacedExample]:
    """Places examples in the order given: where neither place nor neighbours tell the right answer."""
    return [PlacedExample(index, example) for index, example in enumerate(examples)]


def null_subset(examples: Sequence[PlacedExample], count: int) -> list[PlacedExample]:
    """Returns the first `count` examples of each label."""
    kept: list[PlacedExample] = []
    for label in (True, False):
        kept += [e for e in examples if e.example.label is label][:count]
    return sorted(kept, key=lambda e: e.index)


def check_disjoint(latent: int, examples: Sequence[Example], seen_documents: frozenset[int]) -> None:
    """Raises DocumentLeak when an example is of a train document or of one that wrote the explanation."""
    windows = [w for e in examples for w in (e.window, *(shown.window for shown in e.company))]
    used = {window.document for window in windows}
    train = {window.document for window in windows if window.split != "test"}
    leaked = sorted((used & seen_documents) | train)
    if leaked:
        raise DocumentLeak(
            f"latent {latent}: windows to be judged come from document(s) {leaked[:5]}, which the explainer saw or may "
            "have seen; explanations must be made from train documents of the same tokens artifact"
        )
