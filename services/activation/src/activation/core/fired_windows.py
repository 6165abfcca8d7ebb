"""The windows in which latents fire, found in entries that know the window they are in."""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float32, Int64

from activation.core.merge import LatentEntries

SPLITS = 2
PLACE_BITS = 48
"""Latent and place in one number: places are below 2^48, and a chunk has fewer than 2^15 latents."""


@dataclass(frozen=True, slots=True, eq=False)
class FiredWindows:
    """One row for each latent and window in which it fires, sorted by latent, then place."""

    latents: Int64[np.ndarray, " n"]
    places: Int64[np.ndarray, " n"]
    """row * ctx_len + position of the first token."""
    peaks: Float32[np.ndarray, " n"]
    """The strongest activation."""
    test: Bool[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.latents)

    @property
    def groups(self) -> Int64[np.ndarray, " n"]:
        """2 * latent for a window of the train split, one more for one of the test split."""
        return self.latents * SPLITS + self.test

    def chosen(self, which: "np.ndarray[tuple[int], np.dtype[np.bool_ | np.int64]]") -> "FiredWindows":
        """Returns some of the windows, in this order."""
        return FiredWindows(*(getattr(self, f.name)[which] for f in fields(self)))

    @classmethod
    def none(cls) -> "FiredWindows":
        """Returns no window."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.bool_))

    @classmethod
    def joined(cls, first: "FiredWindows", second: "FiredWindows") -> "FiredWindows":
        """Returns both, one after the other."""
        return cls(*(np.concatenate([getattr(first, f.name), getattr(second, f.name)]) for f in fields(cls)))


def fired_windows(block: LatentEntries, ctx_len: int, train_places: int) -> FiredWindows:
    """Groups entries by latent and window; those in no window are left out."""
    inside = block.window_starts >= 0
    owners, places = block.owners[inside], window_places(block, ctx_len)[inside]
    firsts = np.flatnonzero(np.concatenate([[True], (np.diff(owners) != 0) | (np.diff(places) != 0)])[: len(owners)])
    activations = block.activations[inside]
    peaks = np.maximum.reduceat(activations, firsts) if len(firsts) else activations
    return FiredWindows(owners[firsts], places[firsts], peaks, places[firsts] >= train_places)


def window_places(block: LatentEntries, ctx_len: int) -> Int64[np.ndarray, " n"]:
    """Returns the place of the first token of each entry's window; without meaning for an entry in none."""
    return block.places - block.places % ctx_len + block.window_starts


def smallest(groups: Int64[np.ndarray, " n"], values: "np.ndarray", count: int) -> Int64[np.ndarray, " m"]:  # pyright: ignore[reportMissingTypeArgument]
    """Returns the places of the `count` smallest values of each group, rising; of equal ones the first."""
    # Most groups of a small job are not larger than that: only the others are sorted.
    kept = np.bincount(groups)[groups] <= count
    large = np.flatnonzero(~kept)
    order = large[np.lexsort((values[large], groups[large]))]
    begins = np.flatnonzero(np.diff(groups[order], prepend=-1))
    ranks = np.arange(len(order)) - np.repeat(begins, np.diff(begins, append=len(order)))
    kept[order[ranks < count]] = True
    return np.flatnonzero(kept)
