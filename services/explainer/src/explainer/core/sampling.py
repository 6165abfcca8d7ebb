"""Which windows are shown to the explainer, all of them from train documents."""

import math
from typing import Literal

import numpy as np
from jaxtyping import Int64
from latent_cache import ExampleRecord
from latent_cache.quantiles import balanced_order
from latent_cache.source import sampled_of, strongest_of

Sampling = Literal["quantiles", "top", "random", "mixed"]

TOP_SHARE = 0.2
"""Of a mixed sample, the share that is the strongest windows (delphi's value)."""


def top_count(count: int, how: Sampling) -> int:
    """Returns how many of `count` windows are the strongest ones by the way of sampling."""
    return {"top": count, "mixed": math.ceil(TOP_SHARE * count)}.get(how, 0)


def sample(record: ExampleRecord, count: int, how: Sampling, seed: int) -> Int64[np.ndarray, " m"]:
    """Returns the numbers of at most `count` of a latent's train windows, strongest first (ties: first first).

    quantiles: the same number from each activation decile (Paulo et al. 2410.13928: the best); top: the strongest;
    random: any of those kept, of which each train window is as likely to be one as any other, since deciles are equal;
    mixed: a fifth are the strongest, the rest as by quantiles among the others.
    """
    strongest = strongest_of(record, "train")[: top_count(count, how)]
    if how == "top":
        return strongest
    kept = np.setdiff1d(sampled_of(record, "train"), strongest, assume_unique=True)
    if how == "random":
        order = np.random.Generator(np.random.PCG64(seed)).permutation(len(kept))
    else:
        order = balanced_order(record.deciles[kept], seed)
    chosen = np.sort(np.concatenate([strongest, kept[order[: count - len(strongest)]]]))
    return chosen[np.argsort(-record.peaks[chosen], kind="stable")]
