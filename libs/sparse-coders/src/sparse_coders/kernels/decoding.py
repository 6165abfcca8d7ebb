"""Reconstruction and what it asks of the activations, token by token while a token's decoder rows are in the cache."""

import numpy as np
from jaxtyping import Float32, Float64, Int64

from sparse_coders.kernels.compiled import Real, compiled, fetch

_AHEAD = 3
"""Latents between the one whose row is asked for and the one that is added."""


@compiled
def decode(
    acts: Float32[np.ndarray, "n k"],
    latents: Int64[np.ndarray, "n k"],
    W_dec: Float32[np.ndarray, "d_sae d_out"],
    target: Float32[np.ndarray, "n d_out"],
    error: Float32[np.ndarray, "n d_out"],
    d_acts: Float32[np.ndarray, "n k"],
    sums: Float64[np.ndarray, " d_out"],
) -> tuple[Real, int]:
    """Writes error = acts W_dec[latents] - target, its sums by column, and error . W_dec[latents].

    Returns the square sum of all errors and how many latents fired. What did not fire takes no part.
    """
    n, k = acts.shape
    total, fired = 0.0, 0
    sums[:] = 0
    for i in range(n):
        own = error[i]
        for c in range(len(own)):
            own[c] = -target[i, c]
        for m in range(k):
            act, row = acts[i, m], W_dec[latents[i, m]]
            fetch(W_dec[latents[i, min(m + _AHEAD, k - 1)]])
            if act != 0:
                fired += 1
                for c in range(len(own)):
                    own[c] += act * row[c]
        square = np.float32(0)
        for c in range(len(own)):
            square += own[c] * own[c]
            sums[c] += own[c]
        total += square
        for m in range(k):
            row, d_act = W_dec[latents[i, m]], np.float32(0)
            if acts[i, m] != 0:
                for c in range(len(own)):
                    d_act += own[c] * row[c]
            d_acts[i, m] = d_act
    return total, fired


@compiled
def centre(
    x: Float32[np.ndarray, "n width"],
    mean: Float32[np.ndarray, " width"],
    centred: Float32[np.ndarray, "n width"],
    sums: Float64[np.ndarray, " width"],
) -> Real:
    """Writes x - mean and its sums by column; returns its square sum."""
    total = 0.0
    sums[:] = 0
    for i in range(len(x)):
        square = np.float32(0)
        for c in range(x.shape[1]):
            value = x[i, c] - mean[c]
            centred[i, c] = value
            square += value * value
            sums[c] += value
        total += square
    return total
