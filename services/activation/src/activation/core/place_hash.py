"""Seeded hashes of places: which windows a sample takes depends on the place alone, not on the order of reading.

The k smallest hashes of a set are a uniform sample without replacement ("bottom-k", Cohen and Kaplan, PODC 2007); the k
smallest of a union are among the k smallest of its pieces, so that samples of pieces merge to the sample of the whole.
"""

import numpy as np
from jaxtyping import Float64, Int64, UInt64

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def place_hashes(
    seed: int, latents: Int64[np.ndarray, " n"], places: Int64[np.ndarray, " n"]
) -> UInt64[np.ndarray, " n"]:
    """Returns a hash of each (seed, latent, place), by the finaliser of splitmix64 (Steele et al., OOPSLA 2014)."""
    state = _mixed(np.full(1, seed, np.uint64))
    state = _mixed(state ^ latents.astype(np.uint64))
    return _mixed(state ^ places.astype(np.uint64))


def uniform(hashes: UInt64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Returns hashes as numbers in [0, 1)."""
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(values: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    values = values + _STEP
    values = (values ^ (values >> np.uint64(30))) * _FIRST
    values = (values ^ (values >> np.uint64(27))) * _SECOND
    return values ^ (values >> np.uint64(31))
