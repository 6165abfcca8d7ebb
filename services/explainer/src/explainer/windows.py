"""Draws the windows of latents from the latents and tokens artifacts: train documents only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dragoman.artifacts import Artifact
from dragoman.ids import derived_seed
from latent_cache import LatentCache, Window, WindowSource
from latent_cache.quantiles import quantile_of
from latent_cache.render import pieces

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
    """The windows of the train split."""

    def __init__(self, latents: Artifact, tokens: Artifact, length: int, seed: int) -> None:
        self._source = WindowSource(latents, tokens, length)
        self._seed = seed

    @property
    def cache(self) -> LatentCache:
        """The latents they are windows of."""
        return self._source.cache

    def counts(self, latent: int) -> tuple[int, int]:
        """Returns how many windows of train and of test documents a latent fires in."""
        return self._source.window_counts(self._source.activating(latent))

    def draw(self, latent: int, count: int, how: Sampling, min_windows: int) -> Drawn:
        """Draws windows by a seed of the latent's own; none when either split has fewer than `min_windows`."""
        active = self._source.activating(latent)
        train_count, test_count = self._source.window_counts(active)
        if min(train_count, test_count) < min_windows:
            return Drawn((), (), train_count, test_count)
        peaks = active.peaks[active.within(self._source.grid.bounds("train"))]
        chosen = sample(peaks, count, how, derived_seed(self._seed, self.cache.id, latent, "explain"))
        quantiles = [int(q) for q in quantile_of(peaks)[chosen]]
        return Drawn(self._source.show(active, chosen), quantiles, train_count, test_count)

    def strongest(self, latents: Sequence[int]) -> Mapping[int, Sequence[Window]]:
        """Returns the strongest windows of latents, of both splits."""
        return self.cache.top_windows(latents)

    def pieces(self, window: Window) -> Sequence[str]:
        """Returns the text of each token of a window."""
        return pieces(self._source.token_rows.tokenizer(), window.tokens)
