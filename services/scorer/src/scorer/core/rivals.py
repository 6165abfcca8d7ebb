"""Latents whose explanations read alike: what a label that is shared does not tell apart (2605.12874)."""

import re
from collections import Counter
from collections.abc import Mapping

from dragoman.ids import Json, derived_seed

from scorer.core.null import normal_wording

_WORD = re.compile(r"\w+")


def rivals_of(latent: int, explanations: Mapping[int, str], count: int, seed: int) -> list[int]:
    """Returns the `count` other latents whose explanations share the largest part of their words (Jaccard).

    Ties are broken by a seed of the latent's own.
    """
    own = _words(explanations[latent])

    def unlike(other: int) -> tuple[float, int]:
        words = _words(explanations[other])
        return -len(own & words) / max(len(own | words), 1), derived_seed("rivals", seed, latent, other)

    return sorted((other for other in explanations if other != latent), key=unlike)[:count]


def label_statistics(explanations: Mapping[int, str]) -> dict[str, Json]:
    """Returns how many explanations there are, how many differ, and how many latents share theirs with another."""
    wordings = Counter(normal_wording(text) for text in explanations.values())
    shared = sum(count for count in wordings.values() if count > 1)
    return {"explained": len(explanations), "distinct": len(wordings), "sharing": shared}


def _words(text: str) -> frozenset[str]:
    return frozenset(word.lower() for word in _WORD.findall(text))
