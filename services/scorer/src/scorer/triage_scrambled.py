"""The scrambled-text check of unigram candidates: do they fire on their tokens whatever stands around them?"""

from collections.abc import Mapping, Sequence

import numpy as np
from dragoman.artifacts import Artifact
from latent_cache import LatentCache, TokenRows
from latent_cache.filters import StillFires, still_fires, strong_tokens

_MOST_POSITIONS = 1 << 22
"""Of scrambled text that are looked at: enough for some hundred occurrences of a token in ten thousand."""


class ScrambledText:
    """Latents over scrambled tokens beside the same coder's latents over the text."""

    def __init__(self, latents: Artifact, tokens: Artifact, scrambled: Artifact, scrambled_tokens: Artifact) -> None:
        self._cache, self._rows = LatentCache(latents), TokenRows(tokens)
        self._scrambled = LatentCache(scrambled)
        rows = np.concatenate([np.arange(first, end) for first, end in self._scrambled.row_ranges])
        found = TokenRows(scrambled_tokens)
        self._numbers = rows[: max(1, _MOST_POSITIONS // found.ctx_len)]
        self._tokens = found.tokens(self._numbers)
        self._counted = found.documents(self._numbers) >= 0

    def check(self, candidates: Sequence[int]) -> Mapping[int, StillFires]:
        """Returns for each candidate the share of its tokens' occurrences at which it still fires."""
        return {latent: self._checked(latent) for latent in candidates}

    def _checked(self, latent: int) -> StillFires:
        entries = self._cache.entries(latent)
        rows, inverse = np.unique(entries.rows, return_inverse=True)
        fired_on = self._rows.tokens(rows.astype(np.int64))[inverse, entries.positions]
        wanted = strong_tokens(fired_on, entries.activations)
        fires = np.zeros(self._tokens.shape, np.bool_)
        again = self._scrambled.entries(latent)
        places = np.searchsorted(self._numbers, again.rows)
        known = places < len(self._numbers)
        fires[places[known], again.positions[known]] = True
        return still_fires(self._tokens[self._counted], fires[self._counted], wanted)
