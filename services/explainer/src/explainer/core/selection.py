"""Which latents are explained, and in what order."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int64
from latent_cache import LatentIndex


def has_windows(index: LatentIndex, min_windows: int) -> Bool[np.ndarray, " d_sae"]:
    """Returns whether each latent fires in this many windows of either split."""
    return (index.window_count_train >= min_windows) & (index.window_count_test >= min_windows)


def evenly_spaced(candidates: Int64[np.ndarray, " n"], count: int) -> Sequence[int]:
    """Returns `count` of the candidates (in order of rank), the middle ones of equal stretches; all when fewer."""
    count = min(count, len(candidates))
    return [int(candidates[(2 * i + 1) * len(candidates) // (2 * count)]) for i in range(count)]


def selected(
    index: LatentIndex, latents: Sequence[int], ranks: Sequence[int], count: int, min_windows: int
) -> Sequence[int]:
    """Returns the latents to explain, in the order of the selection; all of them, by rank, when none is named."""
    ranking = index.ranking()
    if latents:
        return list(latents)
    if ranks:
        return [int(ranking[rank]) for rank in ranks]
    if count:
        return evenly_spaced(ranking[has_windows(index, min_windows)[ranking]], count)
    return [int(latent) for latent in ranking]
