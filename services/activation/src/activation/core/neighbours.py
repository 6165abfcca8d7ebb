"""Which latents fire on the same tokens: the Jaccard index of their sets of tokens, exact over the tokens given."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, Int64

_PLACES_AT_ONCE = 1 << 15


@dataclass(frozen=True, slots=True, eq=False)
class Firings:
    """Which latent fires on which token, by latent and by token: 8 bytes a firing, and nothing of d_sae x d_sae."""

    offsets: Int64[np.ndarray, " d_sae_plus_1"]
    """Latent `j` fires on `places[offsets[j]:offsets[j + 1]]`."""
    places: Int32[np.ndarray, " n"]
    starts: Int64[np.ndarray, " places_plus_1"]
    """On place `p` fire `latents[starts[p]:starts[p + 1]]`."""
    latents: Int32[np.ndarray, " n"]

    @classmethod
    def of(cls, parts: "Sequence[tuple[np.ndarray, np.ndarray]]") -> "Firings":
        """Joins offsets [d_sae + 1] and places [n] of several parts; a place is any number that is one token's own."""
        counts = np.stack([np.diff(offsets) for offsets, _ in parts])
        offsets = np.concatenate([[0], np.cumsum(counts.sum(0))]).astype(np.int64)
        places = np.empty(int(offsets[-1]), np.int32)
        latents = np.empty(int(offsets[-1]), np.int32)
        at, base, by_place = offsets[:-1].copy(), 0, 0
        starts: list[Int64[np.ndarray, " n"]] = [np.zeros(1, np.int64)]
        for (of_part, own), count in zip(parts, counts, strict=True):
            _, dense = np.unique(own, return_inverse=True)
            places[np.repeat(at - of_part[:-1], count) + np.arange(len(own))] = dense + base
            at += count
            order = np.argsort(dense, kind="stable")
            latents[by_place : by_place + len(own)] = np.repeat(np.arange(len(count), dtype=np.int32), count)[order]
            starts.append(by_place + np.cumsum(np.bincount(dense)))
            by_place += len(own)
            base += len(starts[-1])
        return cls(offsets, places, np.concatenate(starts), latents)

    def partners(self, latent: int) -> Int64[np.ndarray, " d_sae"]:
        """Returns on how many tokens each latent fires together with this one."""
        d_sae = len(self.offsets) - 1
        both = np.zeros(d_sae, np.int64)
        mine = self.places[self.offsets[latent] : self.offsets[latent + 1]]
        # In pieces, so that a latent that fires everywhere takes no more memory than another.
        for low in range(0, len(mine), _PLACES_AT_ONCE):
            begins = self.starts[mine[low : low + _PLACES_AT_ONCE]]
            lengths = self.starts[mine[low : low + _PLACES_AT_ONCE] + 1] - begins
            shift = np.repeat(begins - (np.cumsum(lengths) - lengths), lengths)
            both += np.bincount(self.latents[shift + np.arange(len(shift))], minlength=d_sae)
        return both


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The neighbours of one latent, nearest first; equal ones by their number."""

    latents: Int64[np.ndarray, " n"]
    jaccard: Float32[np.ndarray, " n"]
    """Tokens on which both fire, over tokens on which either does."""
    both_count: Int64[np.ndarray, " n"]


def nearest(firings: Firings, first: int, end: int, count: int) -> Iterator[Neighbours]:
    """Yields, for each latent of `first:end`, at most `count` others that fire at least once together with it."""
    totals = np.diff(firings.offsets)
    for latent in range(first, end):
        both = firings.partners(latent)
        both[latent] = 0
        others = np.flatnonzero(both)
        shared = both[others]
        jaccard = shared / (totals[latent] + totals[others] - shared)
        if len(others) > count:
            others_cut = np.partition(jaccard, -count)[-count]
            kept = jaccard >= others_cut
            others, shared, jaccard = others[kept], shared[kept], jaccard[kept]
        order = np.lexsort((others, -jaccard))[:count]
        yield Neighbours(others[order], jaccard[order].astype(np.float32), shared[order])
