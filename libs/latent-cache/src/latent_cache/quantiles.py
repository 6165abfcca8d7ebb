"""Activation quantiles of a latent's windows, and seeded samples that are balanced over them."""

import numpy as np
from jaxtyping import Float32, Int32, Int64

DECILES = 10


def quantile_of(peaks: Float32[np.ndarray, " n"], count: int = DECILES) -> Int32[np.ndarray, " n"]:
    """Returns the quantile of each window by its strongest activation: 0 is the weakest, `count - 1` the strongest.

    Quantiles hold equal numbers of windows, up to one; equal peaks are ordered by position in `peaks`.
    """
    ranks = np.empty(len(peaks), np.int64)
    ranks[np.argsort(peaks, kind="stable")] = np.arange(len(peaks))
    return (ranks * count // max(len(peaks), 1)).astype(np.int32)


def balanced_order(quantiles: Int32[np.ndarray, " n"], seed: int) -> Int64[np.ndarray, " n"]:
    """Returns all positions of `quantiles` in a seeded order of which every beginning is balanced.

    Quantiles take turns, the strongest first, each giving its windows in random order; one that is used up is passed
    over. So a sample of n windows is `balanced_order(...)[:n]`, and a smaller sample is the beginning of a larger one.
    """
    shuffled = np.random.Generator(np.random.PCG64(seed)).permutation(len(quantiles))
    by_quantile = shuffled[np.argsort(-quantiles[shuffled].astype(np.int64), kind="stable")]
    sorted_quantiles = quantiles[by_quantile]
    firsts = np.flatnonzero(np.diff(sorted_quantiles, prepend=-1))
    sizes = np.diff(firsts, append=len(quantiles))
    turns = np.arange(len(quantiles)) - np.repeat(firsts, sizes)
    return by_quantile[np.argsort(turns, kind="stable")].astype(np.int64)
