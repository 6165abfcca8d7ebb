"""Negatives that are hard to tell from a latent's own windows, in all of which the latent is exactly silent."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from latent_cache import LatentCache, Window
from latent_cache.source import strongest_of

NEIGHBOURS = 10
"""Latents whose windows are taken."""


def co_firing(cache: LatentCache, latent: int) -> list[int]:
    """Returns the latents that fire most often together with this one.

    Raises NotFound when the artifact has no neighbours.
    """
    rows = sorted(cache.neighbours([latent]), key=lambda row: row["rank"])[:NEIGHBOURS]
    return [int(row["neighbour"]) for row in rows]


def neighbour_windows(cache: LatentCache, latent: int, neighbours: Sequence[int], count: int) -> list[Window]:
    """Returns strong test windows of a latent's neighbours: the strongest of each in turn, then the second.

    Fewer where there are fewer.
    """
    records = [cache.examples_of([neighbour])[neighbour] for neighbour in neighbours]
    windows = [[record.window(int(i)) for i in strongest_of(record, "test")] for record in records]
    turns = range(max(map(len, windows), default=0))
    ordered = [own[place] for place in turns for own in windows if place < len(own)]
    found = {(window.row, window.start): _silenced(window) for window in reversed(silent_of(cache, latent, ordered))}
    return list(reversed(found.values()))[:count]


def silent_of(cache: LatentCache, latent: int, windows: Sequence[Window]) -> list[Window]:
    """Returns those of other latents' windows in which a latent is exactly silent."""
    fires = _firing_places(cache, latent)
    return [window for window in windows if not _within(fires, window, cache.index.ctx_len)]


def without(windows: Sequence[Window], taken: Sequence[Window]) -> Iterator[Window]:
    """Yields the windows that are none of `taken`."""
    places = {(window.row, window.start) for window in taken}
    return (window for window in windows if (window.row, window.start) not in places)


def _firing_places(cache: LatentCache, latent: int) -> np.ndarray:
    entries = cache.entries(latent)
    return entries.rows.astype(np.int64) * cache.index.ctx_len + entries.positions


def _within(places: np.ndarray, window: Window, ctx_len: int) -> bool:
    first = window.row * ctx_len + window.start
    low, high = np.searchsorted(places, [first, first + len(window.tokens)])
    return bool(high > low)


def _silenced(window: Window) -> Window:
    """A neighbour's window with the activations of the latent at hand: none."""
    return replace(window, activations=np.zeros_like(window.activations))
