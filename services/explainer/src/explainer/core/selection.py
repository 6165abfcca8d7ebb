"""Which latents are explained, and in what order."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Int64
from latent_cache import LatentIndex


def may_have_windows(index: LatentIndex, min_windows: int) -> np.ndarray:
    """Returns bool [d_sae]: whether each latent fires often enough in both splits to have this many windows in each."""
    return (index.firing_count_train >= min_windows) & (index.firing_count_test >= min_windows)


def evenly_spaced(candidates: Int64[np.ndarray, " n"], count: int, has_enough: Callable[[int], bool]) -> Sequence[int]:
    """Returns `count` of the candidates (in order of rank), evenly spaced, each with enough windows.

    A latent at a chosen place that has too few windows gives way to the nearest candidate that has enough and is not
    chosen yet, so that only the windows of few latents are counted. Fewer come back when there are fewer.
    """
    count = min(count, len(candidates))
    tried: set[int] = set()
    taken: list[int] = []
    for i in range(count):
        for place in _outward((2 * i + 1) * len(candidates) // (2 * count), len(candidates)):
            if place in tried:
                continue
            tried.add(place)
            if has_enough(int(candidates[place])):
                taken.append(place)
                break
    return [int(candidates[place]) for place in sorted(taken)]


def _outward(place: int, end: int) -> Iterator[int]:
    """Yields all of `range(end)`, the nearest to `place` first."""
    for distance in range(end):
        for near in (place - distance, place + distance):
            if 0 <= near < end and (distance or near == place - distance):
                yield near


def selected(
    index: LatentIndex,
    latents: Sequence[int],
    ranks: Sequence[int],
    count: int,
    min_windows: int,
    has_enough: Callable[[int], bool],
) -> Sequence[int]:
    """Returns the latents to explain, in the order of the selection; all of them, by rank, when none is named."""
    ranking = index.ranking()
    if latents:
        return list(latents)
    if ranks:
        return [int(ranking[rank]) for rank in ranks]
    if count:
        candidates = ranking[may_have_windows(index, min_windows)[ranking]]
        return evenly_spaced(candidates, count, has_enough)
    return [int(latent) for latent in ranking]
