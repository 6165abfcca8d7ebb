"""Which windows are shown to the explainer, all of them from train documents."""

from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64
from latent_cache.quantiles import stratified

Sampling = Literal["quantiles", "top", "random"]


def sample(peaks: Float32[np.ndarray, " n"], count: int, how: Sampling, seed: int) -> Int64[np.ndarray, " m"]:
    """Returns the positions of at most `count` windows given their peaks, strongest first (ties: first first).

    quantiles: the same number from each activation decile (Paulo et al. 2410.13928: the best); top: the strongest;
    random: all alike.
    """
    if how == "quantiles":
        chosen = stratified(peaks, count, seed)
    elif how == "top":
        chosen = np.argsort(-peaks, kind="stable")[:count]
    else:
        chosen = np.random.Generator(np.random.PCG64(seed)).permutation(len(peaks))[:count]
    chosen = np.sort(chosen)
    return chosen[np.argsort(-peaks[chosen], kind="stable")]
