"""What all encoded parts have of a range of latents, on the local disk."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from dragoman.artifacts import Artifact, PartInfo
from jaxtyping import Int64

from activation.core.entries import ENCODED_COLUMNS
from activation.core.merge import LatentEntries, PartSlice, merge, whole_rows
from activation.encoded_part import EncodedPart

_READERS = 4
_ENTRY_BYTES = 4 * len(ENCODED_COLUMNS)


class GatheredParts:
    """Slices of encoded parts, copied to one file by a few requests a part: memory does not grow with their size.

    It holds 8 bytes for each part and latent, where the slices lie.
    """

    def __init__(self, own: Artifact, parts: Sequence[PartInfo], ctx_len: int, first: int, end: int) -> None:
        """Parts are in the order of rows; latents from `first` to before `end`."""
        self._own, self._parts, self._ctx_len, self._range = own, parts, ctx_len, (first, end)
        self._offsets: Int64[np.ndarray, "parts latents_plus_1"] = np.zeros((len(parts), end - first + 1), np.int64)
        self._bases: Int64[np.ndarray, " parts"] = np.zeros(len(parts), np.int64)
        self._path = Path()

    def copy(self, path: Path) -> Iterator[int]:
        """Copies the slices to `path`; yields how many are done."""
        self._path = path
        at = 0
        with path.open("wb") as file, ThreadPoolExecutor(_READERS) as readers:
            for low in range(0, len(self._parts), _READERS):
                several = range(low, min(low + _READERS, len(self._parts)))
                for number, (offsets, data) in zip(several, readers.map(self._read, several), strict=True):
                    self._offsets[number] = offsets - offsets[0]
                    self._bases[number] = at
                    at += file.write(data)
                yield several.stop

    @property
    def counts(self) -> Int64[np.ndarray, " latents"]:
        """Entries of each latent."""
        return np.diff(self._offsets, axis=1).sum(0)

    def blocks(self, low: int, high: int, max_entries: int) -> Iterator[LatentEntries]:
        """Yields the entries of latents `low` to before `high`, counted from the first of the range.

        Several latents come as one block; one alone comes in blocks of whole rows of about `max_entries`.
        """
        if high - low > 1:
            slices = (self._slice(n, low, high, 0, int(self._size(n, low, high))) for n in range(len(self._parts)))
            yield merge([s for s in slices if len(s.entries)], high - low)
            return
        yield from whole_rows(self._pieces(low, max_entries), self._ctx_len, max_entries)

    def _pieces(self, latent: int, max_entries: int) -> Iterator[LatentEntries]:
        for number in range(len(self._parts)):
            size = int(self._size(number, latent, latent + 1))
            for first in range(0, size, max_entries):
                end = min(first + max_entries, size)
                yield merge([self._slice(number, latent, latent + 1, first, end)], 1)

    def _size(self, number: int, low: int, high: int) -> np.int64:
        return self._offsets[number, high] - self._offsets[number, low]

    def _slice(self, number: int, low: int, high: int, first: int, end: int) -> PartSlice:
        """Entries `first` to before `end` of what a part has of latents `low` to `high`; all, if there are several."""
        at = int(self._bases[number]) + (int(self._offsets[number, low]) + first) * _ENTRY_BYTES
        found = np.fromfile(self._path, np.int32, (end - first) * len(ENCODED_COLUMNS), offset=at)
        counts = np.diff(self._offsets[number, low : high + 1]) if high - low > 1 else np.asarray([end - first])
        first_place = int(str(self._parts[number].metadata["first_row"])) * self._ctx_len
        return PartSlice(first_place, counts, found.reshape(-1, len(ENCODED_COLUMNS)))

    def _read(self, number: int) -> tuple[Int64[np.ndarray, " latents_plus_1"], bytes]:
        offsets, entries = EncodedPart(self._own, self._parts[number].name).latents(*self._range)
        return offsets, entries.tobytes()
