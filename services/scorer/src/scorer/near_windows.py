"""Negatives that embed nearly as a latent's own windows do, and what the embedder reads to find them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from dragoman.ids import derived_seed
from jaxtyping import Float
from latent_cache import Window, WindowSource

from scorer.core.prompts import plain_text
from scorer.embedder import Embedded

_CANDIDATES = 512
"""Windows of the silent pool that are embedded; the same for all latents and tasks, so that each is embedded once."""

Embed = Callable[[Sequence[str]], Mapping[str, Embedded]]
"""Embeds texts; one that cannot be embedded is left out."""


@dataclass(frozen=True, slots=True)
class Read:
    """What an embedder read."""

    texts: int = 0
    tokens: int = 0

    @classmethod
    def of(cls, found: Iterable[Embedded]) -> "Read":
        """Sums up texts."""
        tokens = [each.tokens for each in found]
        return cls(len(tokens), sum(tokens))


class NearWindows:
    """Finds them for the latents of one task."""

    def __init__(self, source: WindowSource, embed: Embed | None) -> None:
        """`embed`: None while tokens are counted beforehand; the longest candidates then stand for the nearest."""
        self._source, self._embed = source, embed
        self._known: dict[str, Embedded] = {}
        self.own_texts: dict[int, Sequence[str]] = {}
        """By latent, of its activating windows."""

    @cached_property
    def candidates(self) -> Mapping[int, str]:
        """The text of each candidate, by its number in the pool of silent windows of test documents."""
        pool = self._source.cache.silent("test")
        order = np.random.Generator(np.random.PCG64(derived_seed(self._source.cache.id, "near"))).permutation(len(pool))
        return {int(i): self._text(pool.window(int(i), "test")) for i in order[:_CANDIDATES]}

    @property
    def shared(self) -> Read:
        """What was read of the candidates."""
        return Read.of(self._known[text] for text in set(self.candidates.values()) & self._known.keys())

    @property
    def own(self) -> Read:
        """What was read of latents' own windows; a window of several counts for each."""
        return Read.of(self._known[text] for own in self.own_texts.values() for text in own if text in self._known)

    def draw(self, latent: int, active: Sequence[Window], count: int) -> list[Window]:
        """Returns silent test windows, those first that are nearest, by cosine of vectors, to any activating one."""
        pool = self._source.cache.silent("test")
        silent = set(pool.silent(latent).tolist())
        texts = {i: text for i, text in self.candidates.items() if i in silent}
        if not texts or not active:
            return []
        self.own_texts[latent] = list(dict.fromkeys(self._text(window) for window in active))
        ranked = np.argsort(-self._nearness(self.own_texts[latent], list(texts.values())), kind="stable")
        numbers = list(texts)
        return [pool.window(numbers[int(i)], "test") for i in ranked[:count]]

    def _nearness(self, own: Sequence[str], others: Sequence[str]) -> Float[np.ndarray, " others"]:
        if self._embed is None:
            return np.asarray([len(text) for text in others], np.float64)
        missing = [text for text in dict.fromkeys([*self.candidates.values(), *own]) if text not in self._known]
        self._known |= self._embed(missing) if missing else {}
        vectors = [self._known[text].vector for text in own if text in self._known]
        if not vectors:
            return np.zeros(len(others))
        references, known = np.stack(vectors), [self._known.get(text) for text in others]
        cosines = [-np.inf if each is None else float((references @ each.vector).max()) for each in known]
        return np.round(np.asarray(cosines), 6)

    def _text(self, window: Window) -> str:
        return plain_text(self._source.pieces(window))
