"""All that is counted of some latents while their entries pass by, twice: `measure` every block, then `choose`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, Int64

from activation.core.fired_windows import PLACE_BITS, FiredWindows, fired_windows, window_places
from activation.core.firing_totals import FiringTotals
from activation.core.merge import LatentEntries
from activation.core.position_counts import binned, firing_by_position, max_position_density, positional_information
from activation.core.silent_draw import firing_pairs
from activation.core.sketch import Sketch, bin_floor
from activation.core.token_sums import TokenSums
from activation.core.window_sample import KeptWindows, WindowSample

_STRONG_FROM = 2
"""Place in the quantiles of the bound above which the strongest 80 % of activations lie: the 20 % quantile."""


@dataclass(frozen=True, slots=True, eq=False)
class MeasureSettings:
    """What is the same for all latents of an artifact."""

    ctx_len: int
    train_places: int
    """Places from here on are of the test split."""
    token_counts: Int64[np.ndarray, " ctx_len"]
    """Counted tokens by position."""
    pool: Int64[np.ndarray, " pool"]
    """Places of the windows of the silent pools, rising."""
    top_windows: int
    quantile_windows: int
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class WindowActivations:
    """The activations in some windows, window by window."""

    counts: Int64[np.ndarray, " windows"]
    offsets: Int32[np.ndarray, " n"]
    activations: Float32[np.ndarray, " n"]


class RangeMeasures:
    """What is known of consecutive latents. Memory: a constant for each latent, whatever the number of entries."""

    def __init__(self, first_latent: int, latent_count: int, settings: MeasureSettings) -> None:
        self._settings, self._count = settings, latent_count
        self.totals = FiringTotals(latent_count)
        self.tokens = TokenSums()
        self._activations = Sketch()
        self._firing: Int64[np.ndarray, "latents ctx_len"] = np.zeros((latent_count, settings.ctx_len), np.int64)
        latents = np.arange(first_latent, first_latent + latent_count)
        self._sample = WindowSample(latents, settings.top_windows, settings.quantile_windows, settings.seed)
        self._pool = [(np.empty(0, np.int32), np.empty(0, np.int32))]

    def measure(self, block: LatentEntries) -> None:
        """First pass: everything that needs only sums."""
        self.totals.add(block, self._settings.train_places)
        self._activations.add(block.owners, block.activations)
        self._firing += firing_by_position(block, self._settings.ctx_len)
        self.tokens.add(block)
        windows = self._windows(block)
        self._sample.measure(windows)
        self._pool.append(firing_pairs(windows, self._settings.pool))

    def choose(self, block: LatentEntries) -> None:
        """Second pass: the windows that are drawn from each decile."""
        self._sample.choose(self._windows(block), whole=len(block) == int(self.totals.counts.sum()))

    def kept(self) -> KeptWindows:
        """Returns the windows to keep; after both passes."""
        return self._sample.kept()

    def pool_firing(self) -> tuple[Int32[np.ndarray, " n"], Int32[np.ndarray, " n"]]:
        """Returns latent and pool number of each pool window in which a latent fires, by latent, then number."""
        latents, numbers = (np.concatenate(column) for column in zip(*self._pool, strict=True))
        return latents, numbers

    def statistics(self) -> "dict[str, np.ndarray[Any, Any]]":
        """Returns the arrays of the index, and `positions` [latents, bins]; after the first pass."""
        totals, settings = self.totals, self._settings
        alive = totals.counts > 0
        quantiles = self._activations.quantiles(np.where(alive, totals.least, 0.0), totals.greatest)
        distinct, strong = self.tokens.distinct_counts(bin_floor(quantiles[:, _STRONG_FROM]))
        windows = self._sample.window_counts()
        floats = {
            "density": totals.counts / max(1, int(settings.token_counts.sum())),
            "max_activation": totals.greatest,
            "mean_activation": totals.mean,
            "mean_square": totals.mean_square,
            "quantiles": quantiles,
            "token_entropy": self.tokens.entropy(self._count),
            "positional_information": positional_information(self._firing, settings.token_counts),
            "max_position_density": max_position_density(self._firing, settings.token_counts),
        }
        return {
            "firing_count": totals.counts,
            "firing_count_train": totals.train,
            "firing_count_test": totals.test,
            "window_count_train": windows[:, 0],
            "window_count_test": windows[:, 1],
            "distinct_token_count": distinct,
            "unigram_token_count": strong,
            "positions": binned(self._firing),
            **{name: values.astype(np.float32) for name, values in floats.items()},
        }

    def _windows(self, block: LatentEntries) -> FiredWindows:
        return fired_windows(block, self._settings.ctx_len, self._settings.train_places)


def window_activations(block: LatentEntries, windows: FiredWindows, ctx_len: int) -> WindowActivations:
    """Returns the activations of those windows of `windows` that the block has, by latent, then place.

    `counts` are for all of `windows`, 0 for those that are not in the block.
    """
    inside = block.window_starts >= 0
    starts = window_places(block, ctx_len)[inside]
    wanted = windows.latents << PLACE_BITS | windows.places
    keys = block.owners[inside] << PLACE_BITS | starts
    at = np.searchsorted(wanted, keys)
    found = at < len(wanted)
    found[found] = wanted[at[found]] == keys[found]
    offsets = (block.places[inside] - starts)[found].astype(np.int32)
    counts = np.bincount(at[found], minlength=len(wanted))
    return WindowActivations(counts, offsets, block.activations[inside][found])
