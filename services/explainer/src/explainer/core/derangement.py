"""Whose explanation a latent gets when it must not get its own."""

from collections.abc import Mapping

import numpy as np
from dragoman.ids import derived_seed

_TRIES = 20


def deranged(explanations: Mapping[int, str], seed: int) -> dict[int, int]:
    """Returns for each latent the other latent whose explanation it gets; empty with fewer than two.

    One seeded cycle through all of them: each explanation is used once and none by its own latent. Of twenty cycles the
    first with the fewest pairs of equal wordings is taken, for an explanation that reads the same is no null.
    """
    if len(explanations) < 2:
        return {}
    cycles = [_cycle(sorted(explanations), derived_seed("other_latent", seed, i)) for i in range(_TRIES)]
    return min(cycles, key=lambda cycle: _alike(explanations, cycle))


def _cycle(latents: list[int], seed: int) -> dict[int, int]:
    order = np.random.Generator(np.random.PCG64(seed)).permutation(np.asarray(latents)).tolist()
    return dict(zip(order, order[1:] + order[:1], strict=True))


def _alike(explanations: Mapping[int, str], cycle: Mapping[int, int]) -> int:
    words = {latent: explanation.lower().split() for latent, explanation in explanations.items()}
    return sum(words[own] == words[other] for own, other in cycle.items())
