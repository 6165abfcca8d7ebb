"""Activations as stored: float16 relative to the latent's maximum, or float32 as they are."""

from typing import Literal

import numpy as np
from jaxtyping import Float32

ActivationDtype = Literal["float16", "float32"]

# The least that float16 tells from 0, and float32: what fired is never stored as silent.
_LEAST_FLOAT16 = np.float16(2.0**-24)
_LEAST_FLOAT32 = np.float32(2.0**-149)


def activation_bytes(dtype: ActivationDtype) -> int:
    """Bytes of one stored activation."""
    return 2 if dtype == "float16" else 4


def encode_activations(activations: Float32[np.ndarray, " n"], maximum: float, dtype: ActivationDtype) -> bytes:
    """Returns activations in (0, maximum] as bytes. Raises ValueError for one outside.

    float16 keeps a relative error of 2^-11 down to maximum / 2^14, below it an absolute one of maximum / 2^25; an
    activation below maximum / 2^24 comes back as maximum / 2^24, since it did fire. Nothing overflows.
    """
    if len(activations):
        low, high = float(activations.min()), float(activations.max())
        if not (low > 0 and high <= maximum):  # written so that NaN is refused too
            raise ValueError(f"activations from {low} to {high}; expected above 0, at most the maximum {maximum}")
    if dtype == "float32":
        return activations.astype("<f4").tobytes()
    relative = (activations.astype(np.float64) / maximum).astype("<f2")
    return np.maximum(relative, _LEAST_FLOAT16).astype("<f2").tobytes()


def decode_activations(data: bytes | memoryview, maximum: float, dtype: ActivationDtype) -> Float32[np.ndarray, " n"]:
    """Inverse of `encode_activations`, up to its errors; every value is above 0."""
    if dtype == "float32":
        return np.frombuffer(data, "<f4").astype(np.float32)
    found = (np.frombuffer(data, "<f2").astype(np.float64) * maximum).astype(np.float32)
    return np.maximum(found, _LEAST_FLOAT32)
