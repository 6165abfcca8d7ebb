"""Draws the windows of latents from the latents and tokens artifacts: test documents only."""

from collections.abc import Sequence

import numpy as np
from dragoman.artifacts import Artifact
from dragoman.ids import derived_seed
from latent_cache import Window, WindowSource
from latent_cache.quantiles import balanced_order, quantile_of
from latent_cache.render import pieces

from scorer.core.scorers import Counts, Drawn, Method


class HeldOutWindows:
    """The windows of the test split."""

    def __init__(self, latents: Artifact, tokens: Artifact, length: int, seed: int) -> None:
        self._source = WindowSource(latents, tokens, length)
        self._seed = seed

    def draw(self, latent: int, method: Method, asked: Counts) -> tuple[Drawn, Counts]:
        """Returns a latent's windows, and the counts that they allow.

        Activating windows are spread over the deciles of the strongest activation in each, strongest decile first;
        which of a decile is by a seed of the latent's own, the same for every scorer.
        """
        active = self._source.activating(latent)
        test = active.within(self._source.grid.bounds("test"))
        quantiles = quantile_of(active.peaks[test])
        order = balanced_order(quantiles, derived_seed(self._seed, self._source.cache.id, latent, "active"))
        counts = asked.limited(len(order))
        chosen = order[: method.active_needed(counts)]
        windows = self._source.show(active, np.asarray(chosen + test.start, np.int64))
        silent = self._source.silent(latent, active, method.silent_needed(counts), "test", self._seed)
        return Drawn(latent, windows, quantiles[chosen], silent), counts

    def pieces(self, window: Window) -> Sequence[str]:
        """Returns the text of each token of a window."""
        return pieces(self._source.token_rows.tokenizer(), window.tokens)
