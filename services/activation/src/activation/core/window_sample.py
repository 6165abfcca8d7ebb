"""Which windows of a latent are kept: the strongest of each split, and a seeded sample of each activation decile."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int32, Int64, UInt64

from activation.core.fired_windows import SPLITS, FiredWindows, smallest
from activation.core.place_hash import place_hashes, uniform
from activation.core.sketch import Sketch

DECILES = 10


class StrongestWindows:
    """The strongest windows of each latent and split; of equal ones the first. Never more than `count` of each."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.windows = FiredWindows.none()

    def add(self, windows: FiredWindows) -> None:
        """Adds the windows of further rows."""
        joined = FiredWindows.joined(self.windows, windows)
        self.windows = joined.chosen(smallest(joined.groups, -joined.peaks, self._count))


class WindowDeciles:
    """Deciles of the windows of each latent and split, by their strongest activation.

    Windows are ordered by the bins of a sketch, of a width of 1.6 %, and inside a bin by a seeded hash: so the deciles
    hold equal numbers of windows, up to chance where a bin is cut, without the windows being held or sorted.
    """

    def __init__(self) -> None:
        self._peaks = Sketch()

    def add(self, windows: FiredWindows) -> None:
        """Adds the windows of further rows."""
        self._peaks.add(windows.groups, windows.peaks)

    def window_counts(self, latent_count: int) -> Int64[np.ndarray, "latents 2"]:
        """Returns in how many windows of train and of test documents each latent fires."""
        return self._peaks.counts(latent_count * SPLITS).reshape(-1, SPLITS)

    def of(self, windows: FiredWindows, latent_count: int, hashes: UInt64[np.ndarray, " n"]) -> Int32[np.ndarray, " n"]:
        """Returns the decile of windows that were added: 9 holds the strongest. `hashes` order those in one bin."""
        before, same = self._peaks.ranks(windows.groups, windows.peaks)
        sizes = self._peaks.counts(latent_count * SPLITS)[windows.groups]
        ranks = before + np.floor(uniform(hashes) * same)
        return np.minimum(ranks * DECILES // np.maximum(sizes, 1), DECILES - 1).astype(np.int32)


class SampledWindows:
    """A uniform sample of windows of each latent, split and decile: those with the smallest hashes."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.windows = FiredWindows.none()
        self._deciles: Int32[np.ndarray, " n"] = np.empty(0, np.int32)
        self._hashes: UInt64[np.ndarray, " n"] = np.empty(0, np.uint64)

    def add(self, windows: FiredWindows, deciles: Int32[np.ndarray, " n"], hashes: UInt64[np.ndarray, " n"]) -> None:
        """Adds the windows of further rows."""
        joined = FiredWindows.joined(self.windows, windows)
        deciles = np.concatenate([self._deciles, deciles])
        hashes = np.concatenate([self._hashes, hashes])
        kept = smallest(joined.groups * DECILES + deciles, hashes, self._count)
        self.windows, self._deciles, self._hashes = joined.chosen(kept), deciles[kept], hashes[kept]


@dataclass(frozen=True, slots=True, eq=False)
class KeptWindows:
    """The windows that a latent's record holds, each once, sorted by latent, then place."""

    windows: FiredWindows
    top: Bool[np.ndarray, " n"]
    sampled: Bool[np.ndarray, " n"]
    deciles: Int32[np.ndarray, " n"]


class WindowSample:
    """Chooses windows in two passes over the entries: `measure` all blocks first, then `choose` from all."""

    def __init__(self, latents: Int64[np.ndarray, " latents"], top: int, per_decile: int, seed: int) -> None:
        """`latents`: their numbers in the coder, so that no two share a draw. `seed`: 64 bits."""
        self._latents, self._seed = latents, seed
        self._strongest = StrongestWindows(top)
        self._sampled = SampledWindows(per_decile)
        self._deciles = WindowDeciles()

    def measure(self, windows: FiredWindows) -> None:
        """First pass."""
        self._strongest.add(windows)
        self._deciles.add(windows)

    def choose(self, windows: FiredWindows) -> None:
        """Second pass."""
        self._sampled.add(windows, self._decile(windows), self._hashes(windows, "sample"))

    def window_counts(self) -> Int64[np.ndarray, "latents 2"]:
        """Returns in how many windows of train and of test documents each latent fires."""
        return self._deciles.window_counts(len(self._latents))

    def kept(self) -> KeptWindows:
        """Returns what both passes chose."""
        both = FiredWindows.joined(self._strongest.windows, self._sampled.windows)
        order = np.lexsort((both.places, both.latents))
        latents, places = both.latents[order], both.places[order]
        firsts = np.concatenate([[True], (np.diff(latents) != 0) | (np.diff(places) != 0)])[: len(order)]
        owner = np.cumsum(firsts) - 1
        marks = np.zeros((2, int(firsts.sum())), np.bool_)
        marks[(order >= len(self._strongest.windows)).astype(np.int64), owner] = True
        windows = both.chosen(order[firsts])
        return KeptWindows(windows, marks[0], marks[1], self._decile(windows))

    def _decile(self, windows: FiredWindows) -> Int32[np.ndarray, " n"]:
        return self._deciles.of(windows, len(self._latents), self._hashes(windows, "decile"))

    def _hashes(self, windows: FiredWindows, purpose: str) -> UInt64[np.ndarray, " n"]:
        # Two hashes: a decile of windows chosen by their hash would hold a biased sample of itself.
        seed = self._seed ^ (0x5DEECE66D if purpose == "decile" else 0)
        return place_hashes(seed, self._latents[windows.latents], windows.places)
