"""The windows of latents for a score, as the latents artifact keeps them: test documents only."""

from collections.abc import Sequence

from dragoman.artifacts import Artifact
from dragoman.ids import derived_seed
from latent_cache import Window, WindowSource
from latent_cache.quantiles import balanced_order
from latent_cache.source import sampled_of

from scorer.core.scorers import Counts, Drawn, Method


class HeldOutWindows:
    """The windows of the test split, of some latents that are read together."""

    def __init__(self, latents: Artifact, tokens: Artifact, seed: int, wanted: Sequence[int]) -> None:
        self._source = WindowSource(latents, tokens)
        self._seed = seed
        self._records = self._source.cache.examples_of(wanted)

    def draw(self, latent: int, method: Method, asked: Counts) -> tuple[Drawn, Counts]:
        """Returns a latent's windows, and the counts that they allow.

        Activating windows are spread over the deciles of the strongest activation in each, strongest decile first;
        which of a decile is by a seed of the latent's own, the same for every scorer.
        """
        record = self._records[latent]
        kept = sampled_of(record, "test")
        order = balanced_order(record.deciles[kept], derived_seed(self._seed, self._source.cache.id, latent, "active"))
        counts = asked.limited(len(kept))
        chosen = kept[order[: method.active_needed(counts)]]
        windows = [record.window(int(i)) for i in chosen]
        silent = self._source.silent(latent, method.silent_needed(counts), "test", self._seed)
        return Drawn(latent, windows, record.deciles[chosen], silent), counts

    def pieces(self, window: Window) -> Sequence[str]:
        """Returns the text of each token of a window."""
        return self._source.pieces(window)
