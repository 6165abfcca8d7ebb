"""How often and how strongly latents fire: counts and moments that add up."""

from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from activation.core.merge import LatentEntries


class FiringTotals:
    """Counts by split, least, greatest, sum and sum of squares of the activations of some latents."""

    def __init__(self, latent_count: int) -> None:
        self.train: Int64[np.ndarray, " latents"] = np.zeros(latent_count, np.int64)
        self.test: Int64[np.ndarray, " latents"] = np.zeros(latent_count, np.int64)
        self.least: Float64[np.ndarray, " latents"] = np.full(latent_count, np.inf)
        self.greatest: Float64[np.ndarray, " latents"] = np.zeros(latent_count)
        self._sum = np.zeros(latent_count)
        self._squares = np.zeros(latent_count)

    def add(self, block: LatentEntries, train_places: int) -> None:
        """Adds the entries of further rows; places from `train_places` on are of the test split."""
        owners, count = block.owners, len(self.train)
        of_train = np.bincount(owners[block.places < train_places], minlength=count)
        self.train += of_train
        self.test += np.diff(block.offsets) - of_train
        values = block.activations.astype(np.float64)
        self._sum += np.bincount(owners, values, count)
        self._squares += np.bincount(owners, values * values, count)
        self.least = np.minimum(self.least, _segments(np.minimum, values, block.offsets, np.inf))
        self.greatest = np.maximum(self.greatest, _segments(np.maximum, values, block.offsets, 0.0))

    @property
    def counts(self) -> Int64[np.ndarray, " latents"]:
        """Firings in both splits."""
        return self.train + self.test

    @property
    def mean(self) -> Float64[np.ndarray, " latents"]:
        """Mean of the activations above 0; 0 for a dead latent."""
        return self._sum / np.maximum(self.counts, 1)

    @property
    def mean_square(self) -> Float64[np.ndarray, " latents"]:
        """Mean square of the activations above 0."""
        return self._squares / np.maximum(self.counts, 1)


def _segments(
    operation: np.ufunc, values: "np.ndarray[Any, Any]", offsets: Int64[np.ndarray, " latents_plus_1"], empty: float
) -> Float64[np.ndarray, " latents"]:
    found = np.full(len(offsets) - 1, empty)
    alive = np.flatnonzero(np.diff(offsets))
    if len(alive):
        found[alive] = operation.reduceat(values, offsets[alive])
    return found
