"""The windows of latents for an explanation, as the latents artifact keeps them: train documents only."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from dragoman.artifacts import Artifact
from dragoman.ids import derived_seed
from latent_cache import ExampleRecord, LatentCache, Window, WindowSource
from latent_cache.source import strongest_of

from explainer.core.counters import same_token_order, silent_in, token_weights
from explainer.core.sampling import Sampling, sample


@dataclass(frozen=True, slots=True)
class Drawn:
    """Windows of a latent to show, strongest first, and the activation decile of each among its train windows."""

    windows: Sequence[Window] = ()
    quantiles: Sequence[int] = ()
    """0 weakest."""


class TrainWindows:
    """The windows of the train split, of some latents that are read together."""

    def __init__(self, latents: Artifact, tokens: Artifact, seed: int, wanted: Sequence[int]) -> None:
        self._source = WindowSource(latents, tokens)
        self._seed = seed
        self._records: Mapping[int, ExampleRecord] = self.cache.examples_of(wanted)

    @property
    def cache(self) -> LatentCache:
        """The latents they are windows of."""
        return self._source.cache

    def counts(self, latent: int) -> tuple[int, int]:
        """Returns in how many windows of train and of test documents a latent fires."""
        return self._source.window_counts(latent)

    def draw(self, latent: int, count: int, how: Sampling) -> Drawn:
        """Draws windows in which a latent fires, by a seed of its own."""
        record = self._records[latent]
        chosen = sample(record, count, how, self._seed_of(latent, "explain")).tolist()
        return Drawn([record.window(i) for i in chosen], [int(record.deciles[i]) for i in chosen])

    def strongest(self, latent: int, count: int) -> Sequence[Window]:
        """Returns a latent's strongest windows of both splits, strongest first."""
        record = self._records[latent]
        return [record.window(int(i)) for i in strongest_of(record)[:count]]

    def silent(self, latent: int, count: int) -> Sequence[Window]:
        """Draws windows in which a latent is exactly silent; fewer when there are fewer."""
        pool = self.cache.silent("train")
        return [pool.window(int(i), "train") for i in pool.draw(latent, count, self._seed_of(latent, "counter"))]

    def same_tokens(self, latent: int, count: int) -> Sequence[Window]:
        """Returns silent windows with most of the tokens that a latent fires on elsewhere."""
        pool = self.cache.silent("train")
        silent = pool.silent(latent)
        weights = token_weights(self._records[latent])
        order = same_token_order(pool.tokens[silent], weights, self._seed_of(latent, "counter"))
        return [pool.window(int(silent[i]), "train") for i in order[:count]]

    def of_neighbours(self, latent: int, count: int) -> Sequence[Window]:
        """Returns windows in which co-firing latents are strongest and this one is silent, a neighbour after the other.

        Where there are too few, windows of `same_tokens` fill up.
        """
        rows = sorted(self.cache.neighbours([latent]), key=lambda row: row["rank"])
        by_neighbour = [self._silent_of(latent, int(row["neighbour"])) for row in rows]
        turns = (window for turn in zip_longest(*by_neighbour) for window in turn if window is not None)
        found = {(w.row, w.start): w for w in turns}
        for window in self.same_tokens(latent, len(found) + count) if len(found) < count else ():
            found.setdefault((window.row, window.start), window)
        return list(found.values())[:count]

    def sentence(self, latent: int) -> Window | None:
        """Draws any window of the pool of train documents, whether or not the latent fires in it; None: it is empty."""
        pool = self.cache.silent("train")
        if not len(pool):
            return None
        chosen = np.random.Generator(np.random.PCG64(self._seed_of(latent, "sentence"))).integers(len(pool))
        return pool.window(int(chosen), "train")

    def pieces(self, window: Window) -> Sequence[str]:
        """Returns the text of each token of a window."""
        return self._source.pieces(window)

    def _seed_of(self, latent: int, purpose: str) -> int:
        return derived_seed(self._seed, self.cache.id, latent, purpose)

    def _silent_of(self, latent: int, neighbour: int) -> Iterator[Window]:
        """A neighbour's strongest train windows in which the latent is silent, as silent windows."""
        record = self.cache.examples(neighbour)
        strongest = strongest_of(record, "train")
        silent = silent_in(
            self.cache.entries(latent), record.rows[strongest], record.starts[strongest], record.window_length
        )
        for which in strongest[silent]:
            window = record.window(int(which))
            nothing = np.zeros_like(window.activations)
            yield Window(window.row, window.start, window.document, window.split, window.tokens, nothing)
