"""Which windows of a latent are kept: the strongest of each split, and a seeded sample of each activation decile."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64, UInt64

from activation.core.fired_windows import PLACE_BITS, SPLITS, FiredWindows, smallest
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
    """Deciles of the windows of each latent and split, by their strongest activation; 9 holds the strongest.

    Where all windows come in one block they are sorted, equal ones by place: deciles hold equal numbers of windows, up
    to one. A latent too large for a block is not held: its windows are ordered by the bins of a sketch, of a width of
    1.6 %, and inside a bin by a seeded hash, so that deciles are equal up to chance, however it is cut into blocks.
    """

    def __init__(self) -> None:
        self._peaks = Sketch()

    def add(self, windows: FiredWindows) -> None:
        """Adds the windows of further rows."""
        self._peaks.add(windows.groups, windows.peaks)

    def window_counts(self, latent_count: int) -> Int64[np.ndarray, "latents 2"]:
        """Returns in how many windows of train and of test documents each latent fires."""
        return self._peaks.counts(latent_count * SPLITS).reshape(-1, SPLITS)

    def of(
        self, windows: FiredWindows, latent_count: int, hashes: UInt64[np.ndarray, " n"], whole: bool
    ) -> Int32[np.ndarray, " n"]:
        """Returns the decile of each window of a block; all blocks were added.

        `hashes` order the windows of one bin; `whole` says that there is no other block.
        """
        groups = windows.groups
        sizes = self._peaks.counts(latent_count * SPLITS)[groups]
        if whole:
            ranks = _ranks(groups, windows.peaks)
        else:
            before, same = self._peaks.ranks(groups, windows.peaks)
            ranks = (before + np.floor(uniform(hashes) * same)).astype(np.int64)
        return np.minimum(ranks * DECILES // np.maximum(sizes, 1), DECILES - 1).astype(np.int32)


def _ranks(groups: Int64[np.ndarray, " n"], peaks: Float32[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Returns the place of each window in its group by rising peak; equal peaks as they come."""
    # Peaks are above 0, so that their bits are in their order; groups rise, which a stable sort finds out.
    order = np.argsort(groups << 32 | np.ascontiguousarray(peaks).view(np.int32), kind="stable")
    begins = np.flatnonzero(np.diff(groups[order], prepend=-1))
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order)) - np.repeat(begins, np.diff(begins, append=len(order)))
    return ranks


class SampledWindows:
    """A uniform sample of windows of each latent, split and decile: those with the smallest hashes."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.windows = FiredWindows.none()
        self.deciles: Int32[np.ndarray, " n"] = np.empty(0, np.int32)
        self._hashes: UInt64[np.ndarray, " n"] = np.empty(0, np.uint64)

    def add(self, windows: FiredWindows, deciles: Int32[np.ndarray, " n"], hashes: UInt64[np.ndarray, " n"]) -> None:
        """Adds the windows of further rows."""
        joined = FiredWindows.joined(self.windows, windows)
        deciles = np.concatenate([self.deciles, deciles])
        hashes = np.concatenate([self._hashes, hashes])
        kept = smallest(joined.groups * DECILES + deciles, hashes, self._count)
        self.windows, self.deciles, self._hashes = joined.chosen(kept), deciles[kept], hashes[kept]


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
        self._of_strongest: Int32[np.ndarray, " n"] | None = None

    def measure(self, windows: FiredWindows) -> None:
        """First pass."""
        self._strongest.add(windows)
        self._deciles.add(windows)

    def choose(self, windows: FiredWindows, whole: bool) -> None:
        """Second pass; `whole` says that there is no other block."""
        deciles = self._deciles.of(windows, len(self._latents), self._hashes(windows, "decile"), whole)
        self._sampled.add(windows, deciles, self._hashes(windows, "sample"))
        self._deciles_of_strongest(windows, deciles)

    def window_counts(self) -> Int64[np.ndarray, "latents 2"]:
        """Returns in how many windows of train and of test documents each latent fires."""
        return self._deciles.window_counts(len(self._latents))

    def kept(self) -> KeptWindows:
        """Returns what both passes chose."""
        both = FiredWindows.joined(self._strongest.windows, self._sampled.windows)
        deciles = np.concatenate([self._top_deciles(), self._sampled.deciles])
        # Both are sorted already, which a stable sort makes use of.
        order = np.argsort(both.latents << PLACE_BITS | both.places, kind="stable")
        latents, places = both.latents[order], both.places[order]
        firsts = np.concatenate([[True], (np.diff(latents) != 0) | (np.diff(places) != 0)])[: len(order)]
        owner = np.cumsum(firsts) - 1
        marks = np.zeros((2, int(firsts.sum())), np.bool_)
        marks[(order >= len(self._strongest.windows)).astype(np.int64), owner] = True
        return KeptWindows(both.chosen(order[firsts]), marks[0], marks[1], deciles[order[firsts]])

    def _deciles_of_strongest(self, windows: FiredWindows, deciles: Int32[np.ndarray, " n"]) -> None:
        top, found = self._strongest.windows, self._top_deciles()
        keys = windows.latents << PLACE_BITS | windows.places
        wanted = top.latents << PLACE_BITS | top.places
        at = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
        here = keys[at] == wanted if len(keys) else np.zeros(len(wanted), np.bool_)
        self._of_strongest = np.where(here, deciles[at] if len(keys) else 0, found).astype(np.int32)

    def _top_deciles(self) -> Int32[np.ndarray, " n"]:
        if self._of_strongest is None:
            return np.zeros(len(self._strongest.windows), np.int32)
        return self._of_strongest

    def _hashes(self, windows: FiredWindows, purpose: str) -> UInt64[np.ndarray, " n"]:
        # Two hashes: a decile of windows chosen by their hash would hold a biased sample of itself.
        seed = self._seed ^ (0x5DEECE66D if purpose == "decile" else 0)
        return place_hashes(seed, self._latents[windows.latents], windows.places)
