"""Which latents of a coder are looked at, and in what order."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int64


def chosen_latents(
    ranking: Int64[np.ndarray, " d_sae"],
    often_enough: Bool[np.ndarray, " d_sae"],
    latents: Sequence[int],
    ranks: Sequence[int],
    count: int,
) -> list[int]:
    """Returns latents in the order asked for: those named, those of the ranks, or `count` of those that fire enough.

    ranking: latents by falling firing count. often_enough: by latent. A count is spread evenly over the ranks of those
    that fire often enough; without any choice it is all of them.
    """
    if latents:
        return list(latents)
    if ranks:
        return [int(ranking[rank]) for rank in ranks]
    candidates = ranking[often_enough[ranking]]
    taken = min(count, len(candidates)) or len(candidates)
    return [int(candidates[(2 * i + 1) * len(candidates) // (2 * taken)]) for i in range(taken)]
