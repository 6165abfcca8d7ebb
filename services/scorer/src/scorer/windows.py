"""The windows of latents for a score, as the latents artifact keeps them: test documents only."""

from collections.abc import Sequence

from dragoman.artifacts import Artifact
from dragoman.ids import derived_seed
from latent_cache import Window, WindowSource
from latent_cache.quantiles import balanced_order
from latent_cache.source import sampled_of

from scorer.core.examples import DECODER, NEAR, NEIGHBOUR, RANDOM
from scorer.core.scorers import Counts, Drawn, Method
from scorer.decoder_neighbours import decoder_neighbours
from scorer.hard_negatives import (
    NEIGHBOURS,
    co_firing,
    neighbour_windows,
    silent_of,
    without,
)
from scorer.near_windows import Embed, NearWindows


class HeldOutWindows:
    """The windows of the test split, of some latents that are read together."""

    def __init__(
        self,
        latents: Artifact,
        tokens: Artifact,
        seed: int,
        wanted: Sequence[int],
        embed: Embed | None,
        coder: Artifact | None = None,
    ) -> None:
        """`embed`: None while tokens are counted. `coder`: where negatives of decoder neighbours are asked for."""
        self._source = WindowSource(latents, tokens)
        self.near = NearWindows(self._source, embed)
        self._seed = seed
        self._records = self._source.cache.examples_of(wanted)
        self._pieces: dict[tuple[int, int], Sequence[str]] = {}
        self._alike = decoder_neighbours(coder, wanted, NEIGHBOURS) if coder is not None and wanted else {}

    def draw(
        self, latent: int, method: Method, asked: Counts, null_count: int, rivals: Sequence[int] = ()
    ) -> tuple[Drawn, Counts]:
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
        negatives = {RANDOM: silent, **self._hard(latent, windows, silent, counts)}
        found = {type_: own for type_, own in negatives.items() if own}
        beside = {rival: self._rival(latent, rival, counts.inactive) for rival in rivals}
        return Drawn(latent, windows, record.deciles[chosen], found, beside), counts

    def _rival(self, latent: int, rival: int, count: int) -> list[Window]:
        cache = self._source.cache
        record = cache.examples_of([rival])[rival]
        kept = sampled_of(record, "test")
        order = balanced_order(record.deciles[kept], derived_seed(self._seed, cache.id, rival, "rival", latent))
        windows = [record.window(int(i)) for i in kept[order]]
        return silent_of(cache, latent, windows)[:count]

    def _hard(
        self, latent: int, active: Sequence[Window], silent: Sequence[Window], counts: Counts
    ) -> dict[str, list[Window]]:
        """A window is a negative of one type only, and of the first in this order: random, neighbour, decoder, near."""
        cache, taken, found = self._source.cache, list(silent), dict[str, list[Window]]()
        draws = {
            NEIGHBOUR: lambda most: neighbour_windows(cache, latent, co_firing(cache, latent), most),
            DECODER: lambda most: neighbour_windows(cache, latent, self._alike[latent], most),
            NEAR: lambda most: self.near.draw(latent, active, most),
        }
        for type_, draw in draws.items():
            count = counts.negatives.get(type_, 0)
            if count:
                found[type_] = list(without(draw(count + len(taken)), taken))[:count]
                taken += found[type_]
        return found

    def pieces(self, window: Window) -> Sequence[str]:
        """Returns the text of each token of a window."""
        place = (window.row, window.start)
        if place not in self._pieces:  # a window may stand in several questions about a latent
            self._pieces[place] = self._source.pieces(window)
        return self._pieces[place]
