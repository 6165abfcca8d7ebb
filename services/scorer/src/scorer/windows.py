"""The windows of latents for a score, as the latents artifact keeps them: test documents only."""

from collections.abc import Sequence

from dragoman.artifacts import Artifact
from dragoman.ids import derived_seed
from latent_cache import Window, WindowSource
from latent_cache.quantiles import balanced_order
from latent_cache.source import sampled_of

from scorer.core.examples import RANDOM
from scorer.core.scorers import Counts, Drawn, Method


class HeldOutWindows:
    """The windows of the test split, of some latents that are read together."""

    def __init__(self, latents: Artifact, tokens: Artifact, seed: int, wanted: Sequence[int]) -> None:
        self._source = WindowSource(latents, tokens)
        self._seed = seed
        self._records = self._source.cache.examples_of(wanted)
        self._pieces: dict[tuple[int, int], Sequence[str]] = {}

    def draw(self, latent: int, method: Method, asked: Counts, null_count: int) -> tuple[Drawn, Counts]:
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
        silent = self._source.silent(latent, method.silent_needed(counts, null_count), "test", self._seed)
        self._pieces.clear()
        return Drawn(latent, windows, record.deciles[chosen], {RANDOM: silent} if silent else {}), counts

    def pieces(self, window: Window) -> Sequence[str]:
        """Returns the text of each token of a window."""
        place = (window.row, window.start)
        if place not in self._pieces:  # a window may stand in several questions about a latent
            self._pieces[place] = self._source.pieces(window)
        return self._pieces[place]
