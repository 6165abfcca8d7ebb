"""(token, latent) pairs regrouped: from the latents of each token to the tokens of each latent."""

import numpy as np
from jaxtyping import Float32, Int32, Int64

from sparse_coders.kernels.compiled import compiled


@compiled
def pairs_by_latent(
    acts: Float32[np.ndarray, "n k"],
    latents: Int64[np.ndarray, "n k"],
    offsets: Int32[np.ndarray, " ends"],
    pairs: Int32[np.ndarray, " pairs"],
) -> None:
    """Writes the places in the flattened [n, k] arrays of what fired, by latent, then token.

    Args:
        acts: Activations; 0 did not fire.
        latents: Their latents.
        offsets: Filled with d_sae + 1 boundaries: latent j owns pairs[offsets[j] : offsets[j + 1]].
        pairs: Filled as far as offsets[d_sae]; n * k long.
    """
    n, k = acts.shape
    offsets[:] = 0
    for i in range(n):
        for m in range(k):
            if acts[i, m] != 0:
                offsets[latents[i, m] + 1] += 1
    for j in range(1, len(offsets)):
        offsets[j] += offsets[j - 1]
    # Boundaries move up by one place while pairs are filled in, and are put back after.
    for i in range(n):
        for m in range(k):
            if acts[i, m] != 0:
                j = latents[i, m]
                pairs[offsets[j]] = i * k + m
                offsets[j] += 1
    for j in range(len(offsets) - 1, 0, -1):
        offsets[j] = offsets[j - 1]
    offsets[0] = 0
