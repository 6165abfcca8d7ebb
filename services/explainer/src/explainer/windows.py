"""The windows of latents for an explanation, as the latents artifact keeps them: train documents only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dragoman.artifacts import Artifact
from dragoman.ids import derived_seed
from latent_cache import ExampleRecord, LatentCache, Window, WindowSource
from latent_cache.source import strongest_of

from explainer.core.sampling import Sampling, sample


@dataclass(frozen=True, slots=True)
class Drawn:
    """Windows of a latent to show, strongest first, and how many there are of each split."""

    windows: Sequence[Window]
    quantiles: Sequence[int]
    """Activation decile of each among the latent's train windows, 0 weakest."""
    train_count: int
    test_count: int


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

    def draw(self, latent: int, count: int, how: Sampling, min_windows: int) -> Drawn:
        """Draws windows by a seed of the latent's own; none when either split has fewer than `min_windows`."""
        counts = self._source.window_counts(latent)
        if min(counts) < min_windows:
            return Drawn((), (), *counts)
        record = self._records[latent]
        chosen = sample(record, count, how, derived_seed(self._seed, self.cache.id, latent, "explain")).tolist()
        return Drawn([record.window(i) for i in chosen], [int(record.deciles[i]) for i in chosen], *counts)

    def strongest(self, latent: int, count: int) -> Sequence[Window]:
        """Returns a latent's strongest windows of both splits, strongest first."""
        record = self._records[latent]
        return [record.window(int(i)) for i in strongest_of(record)[:count]]

    def pieces(self, window: Window) -> Sequence[str]:
        """Returns the text of each token of a window."""
        return self._source.pieces(window)
