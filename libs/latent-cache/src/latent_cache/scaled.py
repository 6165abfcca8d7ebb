"""Activations as stored: float16 relative to the latent's maximum, or float32 as they are."""

from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64

ActivationDtype = Literal["float16", "float32"]

# The least that float16 tells from 0, and float32: what fired is never stored as silent.
_LEAST_FLOAT16 = np.float16(2.0**-24)
_LEAST_FLOAT32 = np.float32(2.0**-149)


def activation_bytes(dtype: ActivationDtype) -> int:
    """Bytes of one stored activation."""
    return 2 if dtype == "float16" else 4


def encode_activations(
    activations: Float32[np.ndarray, " n"], maximum: float | Float64[np.ndarray, " n"], dtype: ActivationDtype
) -> bytes:
    """Returns activations in (0, maximum] as bytes. Raises ValueError for one outside.

    `maximum`: of the latent, or for each activation that of its latent. float16 keeps a relative error of 2^-11 down to
    maximum / 2^14, below it an absolute one of maximum / 2^25; an activation below maximum / 2^24 comes back as
    maximum / 2^24, since it did fire. Nothing overflows.
    """
    values = activations.astype(np.float64)
    maxima = np.broadcast_to(np.asarray(maximum, np.float64), values.shape)
    inside = (values > 0) & (values <= maxima)  # False for NaN
    if not inside.all():
        which = int(np.argmin(inside))
        raise ValueError(f"an activation is {values[which]}; expected above 0, at most the maximum {maxima[which]}")
    if dtype == "float32":
        return activations.astype("<f4").tobytes()
    return np.maximum((values / maxima).astype("<f2"), _LEAST_FLOAT16).astype("<f2").tobytes()


def decode_activations(data: bytes | memoryview, maximum: float, dtype: ActivationDtype) -> Float32[np.ndarray, " n"]:
    """Inverse of `encode_activations`, up to its errors; every value is above 0."""
    if dtype == "float32":
        return np.frombuffer(data, "<f4").astype(np.float32)
    found = (np.frombuffer(data, "<f2").astype(np.float64) * maximum).astype(np.float32)
    return np.maximum(found, _LEAST_FLOAT32)
