"""Counter-examples: which windows in which a latent is silent say most about what it does not fire on."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64
from latent_cache import Entries, ExampleRecord

_STRONGEST_TOKENS = 64


def token_weights(record: ExampleRecord) -> Mapping[int, float]:
    """Returns the token ids that a latent fires on in train windows, with the sum of its activations on each.

    At most 64, those of the largest sums; equal sums by token id.
    """
    windows = np.repeat(np.arange(len(record)), np.diff(record.first_activations))
    train = ~record.test[windows]
    tokens = record.tokens[windows, record.offsets][train]
    found, which = np.unique(tokens, return_inverse=True)
    sums = np.bincount(which, record.activations[train].astype(np.float64), len(found))
    strongest = np.argsort(-sums, kind="stable")[:_STRONGEST_TOKENS]
    return {int(found[i]): float(sums[i]) for i in strongest}


def same_token_order(
    tokens: Int32[np.ndarray, "windows length"], weights: Mapping[int, float], seed: int
) -> Int64[np.ndarray, " windows"]:
    """Returns all windows, those first that hold most of what a latent fires on elsewhere; equal ones by seed.

    A silent window that has the latent's own tokens shows that the token alone is not what it fires on.
    """
    shuffled = np.random.Generator(np.random.PCG64(seed)).permutation(len(tokens)).astype(np.int64)
    totals: Float64[np.ndarray, " windows"] = np.zeros(len(tokens))
    for token, weight in weights.items():
        totals += weight * (tokens == token).any(axis=1)
    return shuffled[np.argsort(-totals[shuffled], kind="stable")]


def silent_in(
    entries: Entries, rows: Int64[np.ndarray, " windows"], starts: Int32[np.ndarray, " windows"], length: int
) -> Bool[np.ndarray, " windows"]:
    """Returns in which windows of `length` tokens a latent fires nowhere, given all its entries in order of place."""
    stride = 1 << 32
    places = entries.rows.astype(np.int64) * stride + entries.positions
    first = rows.astype(np.int64) * stride + starts
    return np.searchsorted(places, first) == np.searchsorted(places, first + length)
