"""What is known of a latent before anything is asked: columns that say why it may be trivial."""

from collections.abc import Mapping

import pyarrow as pa
from latent_cache import LatentIndex
from latent_cache.filters import is_positional, is_unigram_candidate

FILTER_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("token_entropy", pa.float64()),
    ("positional_information", pa.float64()),
    ("is_positional", pa.bool_()),
    ("unigram_token_count", pa.int64()),
    ("is_unigram_candidate", pa.bool_()),
]
"""Definitions: docs/methods.md, "Latents"."""


class LatentFilters:
    """The filters of a whole dictionary."""

    def __init__(self, index: LatentIndex) -> None:
        self._index = index
        self._positional = is_positional(index)
        self._unigram = is_unigram_candidate(index)

    def of(self, latent: int) -> Mapping[str, float | int | bool]:
        """Returns FILTER_COLUMNS of one latent."""
        return {
            "token_entropy": float(self._index.token_entropy[latent]),
            "positional_information": float(self._index.positional_information[latent]),
            "is_positional": bool(self._positional[latent]),
            "unigram_token_count": int(self._index.unigram_token_count[latent]),
            "is_unigram_candidate": bool(self._unigram[latent]),
        }
