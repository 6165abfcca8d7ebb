"""Filters of latents by what the index counted of them (docs/methods.md): pure functions over a whole index."""

import numpy as np
from jaxtyping import Bool

from latent_cache.index import LatentIndex

POSITIONAL_INFORMATION = 0.05
"""Nats of mutual information of firing and position above which a latent is positional."""
UNIGRAM_TOKENS = 20
"""Most different tokens among the strongest 80 % of activations of a unigram candidate."""


def is_positional(index: LatentIndex, threshold: float = POSITIONAL_INFORMATION) -> Bool[np.ndarray, " d_sae"]:
    """Returns which latents fire by position in the row. A dead one does not."""
    return index.positional_information > threshold


def is_unigram_candidate(index: LatentIndex, most: int = UNIGRAM_TOKENS) -> Bool[np.ndarray, " d_sae"]:
    """Returns which latents fire strongly on few different tokens; whether on these alone, scrambled text must show.

    A latent with so few firings that it cannot have more tokens is no candidate: it needs more than `most`.
    """
    return (index.unigram_token_count <= most) & (index.firing_count > most)
