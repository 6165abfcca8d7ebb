"""Windows of latents as explainers and scorers take them: those kept of a latent, and silent ones."""

from collections.abc import Sequence

import numpy as np
from dragoman.artifacts import Artifact
from dragoman.ids import derived_seed
from jaxtyping import Int64

from latent_cache.cache import LatentCache
from latent_cache.example_record import ExampleRecord
from latent_cache.render import pieces
from latent_cache.token_rows import Split, TokenRows
from latent_cache.windows import Window


class WindowSource:
    """The stored windows of one latents artifact; of the tokens artifact it reads the tokenizer only."""

    def __init__(self, latents: Artifact, tokens: Artifact) -> None:
        self.cache = LatentCache(latents)
        self._tokens = TokenRows(tokens)

    def window_counts(self, latent: int) -> tuple[int, int]:
        """Returns in how many windows of train and of test documents a latent fires, stored ones or not."""
        index = self.cache.index
        return int(index.window_count_train[latent]), int(index.window_count_test[latent])

    def silent(self, latent: int, count: int, split: Split, seed: int) -> list[Window]:
        """Draws windows of a split where the latent is exactly silent, without replacement, by a seed of its own."""
        pool = self.cache.silent(split)
        own = derived_seed(seed, self.cache.id, latent, split, "silent")
        return [pool.window(int(which), split) for which in pool.draw(latent, count, own)]

    def pieces(self, window: Window) -> Sequence[str]:
        """Returns the text of each token of a window."""
        return pieces(self._tokens.tokenizer(), window.tokens)


def sampled_of(record: ExampleRecord, split: Split) -> Int64[np.ndarray, " n"]:
    """Returns the numbers of the windows of a split that were drawn by decile, in the order of the record."""
    return np.flatnonzero(record.sampled & (record.test == (split == "test")))


def strongest_of(record: ExampleRecord, split: Split | None = None) -> Int64[np.ndarray, " n"]:
    """Returns the numbers of the strongest windows of a split (None: of both), strongest first; ties: first first."""
    kept = np.flatnonzero(record.top & ((record.test == (split == "test")) | (split is None)))
    return kept[np.argsort(-record.peaks[kept], kind="stable")]
