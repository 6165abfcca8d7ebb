"""The output score: do the tokens that a latent promotes belong together?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from dragoman.ids import derived_seed
from jaxtyping import Float

MOST_TOKENS = 10
LEAST_TOKENS = 3
NULL_SETS = 20
"""Mixed sets for each latent."""

Vectors = Mapping[str, Float[np.ndarray, " d"]]
"""Of length 1, by text."""


@dataclass(frozen=True, slots=True)
class Promoted:
    """The tokens that a latent raises, most first."""

    texts: Sequence[str] = ()
    reason: str = ""
    """Why there are none, where there are none."""
    is_inert: bool = False
    """Whether it moves the output at no strength."""


def cleaned(texts: Sequence[str]) -> list[str]:
    """Returns the first MOST_TOKENS different texts without the spaces around them; those of nothing else are left
    out."""
    return list(dict.fromkeys(stripped for text in texts if (stripped := text.strip())))[:MOST_TOKENS]


def coherence(texts: Sequence[str], vectors: Vectors) -> float | None:
    """Returns the mean cosine of the pairs of some texts, rounded to 6 digits; None with fewer than LEAST_TOKENS that
    have a vector."""
    found = np.asarray([vectors[text] for text in texts if text in vectors], np.float64)
    count = len(found)
    if count < LEAST_TOKENS:
        return None
    total = float((found.sum(axis=0) ** 2).sum())
    return round((total - count) / (count * (count - 1)), 6)


def mixed_sets(promoted: Mapping[int, Sequence[str]], seed: int) -> list[list[str]]:
    """Returns sets of tokens as they would be if which latent promotes what were chance: NULL_SETS for each latent, as
    large as its own, each token from another latent of its own. Smaller where there are fewer latents."""
    latents = sorted(promoted)
    sets: list[list[str]] = []
    for latent in latents:
        others = np.asarray([other for other in latents if other != latent], np.int64)
        for number in range(NULL_SETS):
            rng = np.random.Generator(np.random.PCG64(derived_seed(seed, "mixed", latent, number)))
            donors = rng.permutation(others)[: len(promoted[latent])].tolist()
            sets.append([promoted[d][int(rng.integers(len(promoted[d])))] for d in donors])
    return sets


def null_coherences(sets: Sequence[Sequence[str]], vectors: Vectors) -> list[float]:
    """Returns the coherence of each set that has one."""
    return [value for tokens in sets if (value := coherence(tokens, vectors)) is not None]
