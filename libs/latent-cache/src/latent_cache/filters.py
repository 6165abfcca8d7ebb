"""Filters of latents (docs/methods.md): by what the index counted of a whole dictionary, and by scrambled text."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int32

from latent_cache.index import LatentIndex

POSITIONAL_INFORMATION = 0.05
"""Nats of mutual information of firing and position above which a latent is positional."""
UNIGRAM_TOKENS = 20
"""Most different tokens among the strongest 80 % of activations of a unigram candidate."""
UNIGRAM_SHARE = 0.9
"""Share of its tokens' occurrences in scrambled text at which a unigram latent fires, at least."""
SCRAMBLED_OCCURRENCES = 40
"""Fewer than these say nothing."""


@dataclass(frozen=True, slots=True)
class StillFires:
    """What became of a unigram candidate in scrambled text."""

    share: float | None
    """Of the occurrences of its tokens, those at which it fires: mean over tokens. None with too few occurrences."""
    occurrence_count: int


def is_positional(index: LatentIndex, threshold: float = POSITIONAL_INFORMATION) -> Bool[np.ndarray, " d_sae"]:
    """Returns which latents fire by position in the row. A dead one does not."""
    return index.positional_information > threshold


def is_unigram_candidate(index: LatentIndex, most: int = UNIGRAM_TOKENS) -> Bool[np.ndarray, " d_sae"]:
    """Returns which latents fire strongly on few different tokens; whether on these alone, scrambled text must show.

    A latent with so few firings that it cannot have more tokens is no candidate: it needs more than `most`.
    """
    return (index.unigram_token_count <= most) & (index.firing_count > most)


def strong_tokens(tokens: Int32[np.ndarray, " n"], activations: Float32[np.ndarray, " n"]) -> Int32[np.ndarray, " m"]:
    """Returns the different tokens among the strongest 80 % of a latent's activations, rising.

    `tokens`: the token at each activation.
    """
    if not len(tokens):
        return np.empty(0, np.int32)
    return np.unique(tokens[activations >= np.quantile(activations, 0.2)])


def still_fires(
    tokens: Int32[np.ndarray, " n"], fires: Bool[np.ndarray, " n"], wanted: Int32[np.ndarray, " m"]
) -> StillFires:
    """Returns how often a latent fires on its tokens in scrambled text (2410.13928, the authors' blog).

    `fires`: at which of the tokens of that text it does. Each of the `wanted` tokens that occurs counts the same.
    """
    here = np.isin(tokens, wanted)
    count = int(here.sum())
    if count < SCRAMBLED_OCCURRENCES:
        return StillFires(None, count)
    _, which = np.unique(tokens[here], return_inverse=True)
    shares = np.bincount(which, fires[here]) / np.bincount(which)
    return StillFires(float(shares.mean()), count)
