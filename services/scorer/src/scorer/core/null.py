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
    wordings = {latent: normal_wording(text) for latent, text in explanations.items()}
    return sum(wordings[own] == wordings[other] for own, other in partner.items())


def strangers(partners: Mapping[int, int], latent: int, rival: int | None) -> tuple[int, int | None] | None:
    """Returns whose explanations stand for a latent's and, where one is shown too, its rival's in the shuffled arm.

    Neither is of one of the two. None where there are too few latents.
    """
    if rival is None:
        return (partners[latent], None) if latent in partners else None
    own = _after(partners, latent, {latent, rival})
    other = None if own is None else _after(partners, rival, {latent, rival, own})
    return None if own is None or other is None else (own, other)


def _after(partners: Mapping[int, int], start: int, without: set[int]) -> int | None:
    """The first on the cycle after a latent that is none of some; None when there is none."""
    latent = start
    for _ in partners:
        latent = partners[latent]
        if latent not in without:
            return latent
    return None


def _cycle(latents: list[int], seed: int) -> dict[int, int]:
    order = np.random.Generator(np.random.PCG64(seed)).permutation(np.asarray(latents)).tolist()
    return dict(zip(order, order[1:] + order[:1], strict=True))


def normal_wording(explanation: str) -> str:
    """Returns an explanation without what does not change its meaning: case, spaces, a full stop."""
    return " ".join(explanation.lower().split()).rstrip(".")
