"""How often latents fire, as a histogram over the logarithm."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

_LOWEST, _BINS_A_DECADE = -8, 4
"""Rarer ones are in the first bin."""


class Histogram(NamedTuple):
    """Latents by density."""

    log10_edges: list[float]
    """Of bins a quarter of a decade wide, from 1e-8 to 1."""
    counts: list[int]
    dead_count: int
    """Latents that never fired, which have no logarithm. With `counts` they add up to d_sae."""


def density_histogram(firing_count: Int64[np.ndarray, " d_sae"], token_count: int) -> Histogram:
    """Returns how many latents fire how often; a density is a latent's firings over tokens."""
    edges = np.linspace(_LOWEST, 0, -_LOWEST * _BINS_A_DECADE + 1)
    fired = firing_count[firing_count > 0]
    densities = np.clip(np.log10(fired / token_count), _LOWEST, 0)
    counts, _ = np.histogram(densities, edges)
    rounded = [round(float(edge), 2) for edge in edges]
    return Histogram(rounded, [int(count) for count in counts], int(len(firing_count) - len(fired)))
