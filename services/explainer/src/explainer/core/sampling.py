"""Which windows are shown to the explainer, all of them from train documents."""

from typing import Literal

import numpy as np
from jaxtyping import Int64
from latent_cache import ExampleRecord
from latent_cache.quantiles import balanced_order
from latent_cache.source import sampled_of, strongest_of

Sampling = Literal["quantiles", "top", "random"]


def sample(record: ExampleRecord, count: int, how: Sampling, seed: int) -> Int64[np.ndarray, " m"]:
    """Returns the numbers of at most `count` of a latent's train windows, strongest first (ties: first first).

    quantiles: the same number from each activation decile (Paulo et al. 2410.13928: the best); top: the strongest;
    random: any of those kept, of which each train window is as likely to be one as any other, since deciles are equal.
    """
    if how == "top":
        return strongest_of(record, "train")[:count]
    kept = sampled_of(record, "train")
    if how == "quantiles":
        order = balanced_order(record.deciles[kept], seed)
    else:
        order = np.random.Generator(np.random.PCG64(seed)).permutation(len(kept))
    chosen = np.sort(kept[order[:count]])
    return chosen[np.argsort(-record.peaks[chosen], kind="stable")]
