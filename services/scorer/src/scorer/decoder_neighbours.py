"""Latents whose decoder directions are alike, from a coder artifact's weights and without torch."""

from collections.abc import Mapping, Sequence

import numpy as np
from dragoman.artifacts import Artifact
from dragoman.errors import FailedPrecondition
from jaxtyping import Float, Num
from latent_cache.tensor_file import TensorFile, widened

_WEIGHTS = ("sae.safetensors", "sae_weights.safetensors")
_TENSOR = "W_dec"
_ROWS = 8192
"""Directions compared at a time."""


def decoder_neighbours(coder: Artifact, latents: Sequence[int], count: int) -> Mapping[int, Sequence[int]]:
    """Returns, for each latent, those whose decoder directions have the greatest cosine with its own, greatest first.

    Raises FailedPrecondition for a coder artifact without such weights.
    """
    name = next((part.name for part in coder.manifest.parts if part.name in _WEIGHTS), None)
    if name is None:
        raise FailedPrecondition(f"{coder.id} has none of {', '.join(_WEIGHTS)}, so its decoder directions are unknown")
    directions = TensorFile(coder, name).map(_TENSOR)
    own = _units(directions[list(latents)])
    blocks = [own @ _units(directions[first : first + _ROWS]).T for first in range(0, len(directions), _ROWS)]
    cosines = np.round(np.concatenate(blocks, axis=1), 6)  # ties are by index on every machine
    cosines[np.arange(len(own)), list(latents)] = -np.inf
    ranked = np.argsort(-cosines, axis=1, kind="stable")[:, : min(count, len(directions) - 1)]
    return dict(zip(latents, ranked.tolist(), strict=True))


def _units(rows: Num[np.ndarray, "n d_model"]) -> Float[np.ndarray, "n d_model"]:
    """Rows of length 1, in float64 whatever they were stored in; zeros stay zeros."""
    exact = np.asarray(widened(rows), np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    return exact / np.where(lengths > 0.0, lengths, 1.0)
