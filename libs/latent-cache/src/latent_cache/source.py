"""Windows of the latents of one artifact: the cache, the token rows and the grid together."""

import numpy as np
from dragoman.artifacts import Artifact
from dragoman.ids import derived_seed
from jaxtyping import Int64

from latent_cache.cache import LatentCache
from latent_cache.token_rows import Split, TokenRows
from latent_cache.windows import (
    Activating,
    Window,
    WindowGrid,
    activating,
    activating_windows,
    draw_silent,
    silent_windows,
)


class WindowSource:
    """What explainers and scorers read: the windows of a latent, firing and silent."""

    def __init__(self, latents: Artifact, tokens: Artifact, length: int) -> None:
        self.cache = LatentCache(latents)
        self.token_rows = TokenRows(tokens)
        self.grid = WindowGrid.read(self.token_rows, self.cache.row_ranges, length)

    def activating(self, latent: int) -> Activating:
        """Returns all windows in which a latent fires, of both splits, train first."""
        return activating(self.grid, self.cache.entries(latent))

    def window_counts(self, active: Activating) -> tuple[int, int]:
        """Returns how many of a latent's windows are of train and of test documents."""
        train = int(np.searchsorted(active.windows, self.grid.train_window_count))
        return train, len(active) - train

    def show(self, active: Activating, chosen: Int64[np.ndarray, " n"]) -> list[Window]:
        """Makes the windows at these positions of `active`, in that order."""
        return activating_windows(self.grid, self.token_rows, active, chosen)

    def silent(self, latent: int, active: Activating, count: int, split: Split, seed: int) -> list[Window]:
        """Draws windows of a split where the latent is exactly silent, without replacement, by a seed of its own."""
        own = derived_seed(seed, self.cache.id, latent, split, "silent")
        return silent_windows(self.grid, self.token_rows, draw_silent(self.grid, active, count, own, split))
