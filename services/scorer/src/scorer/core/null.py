"""The shuffled-label null: every latent's windows judged with another latent's explanation."""

from collections.abc import Mapping

import numpy as np
from dragoman.ids import derived_seed

_TRIES = 20


def deranged(explanations: Mapping[int, str], seed: int) -> dict[int, int]:
    """Returns for each latent the other latent whose explanation it is judged with.

    The result is one cycle through all latents in a seeded random order, so every explanation is used once and none by
    its own latent. Of twenty such cycles the first with the fewest pairs of equal explanations is taken: another
    latent's explanation is no null when it says the same. Empty with fewer than two latents.
    """
    if len(explanations) < 2:
        return {}
    cycles = [_cycle(sorted(explanations), derived_seed("null", seed, attempt)) for attempt in range(_TRIES)]
    return min(cycles, key=lambda cycle: collision_count(explanations, cycle))


def collision_count(explanations: Mapping[int, str], partner: Mapping[int, int]) -> int:
    """Returns how many latents are given an explanation that reads the same as their own."""
    return sum(_normal(explanations[own]) == _normal(explanations[other]) for own, other in partner.items())


def _cycle(latents: list[int], seed: int) -> dict[int, int]:
    order = np.random.Generator(np.random.PCG64(seed)).permutation(np.asarray(latents)).tolist()
    return dict(zip(order, order[1:] + order[:1], strict=True))


def _normal(explanation: str) -> str:
    return " ".join(explanation.lower().split()).rstrip(".")
