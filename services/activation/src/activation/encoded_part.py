"""Encoded parts: written by an encoding task, read by ranges of latents against checksums. Imports no torch.

A part is a safetensors file of the two tensors of `activation.core.entries`. Its header says into how many latents a
range its latents are cut, as the job's shards are, and the crc32 of each range: of its offsets, then of its entries.
"""

import base64
import zlib
from pathlib import Path

import numpy as np
from dragoman.artifacts import Artifact
from dragoman.errors import DataLoss
from jaxtyping import Int32, Int64
from latent_cache.tensor_file import TensorFile
from safetensors.numpy import save_file

from activation.core.entries import EncodedEntries

_LATENTS, _CHECKSUMS = "latents_per_range", "checksums"

Offsets = Int64[np.ndarray, " latents_plus_1"]
Entries = Int32[np.ndarray, "n 5"]


def write_encoded(path: Path, encoded: EncodedEntries, latents_per_range: int) -> None:
    """Writes a part that can be read by runs of `latents_per_range` latents; the last run may be shorter."""
    offsets, entries = encoded.offsets, encoded.entries
    sums: list[int] = []
    for first in range(0, len(offsets) - 1, latents_per_range):
        own = offsets[first : first + latents_per_range + 1]
        sums.append(_checksum(own, entries[own[0] : own[-1]]))
    text = base64.b64encode(np.asarray(sums, "<u4").tobytes()).decode()
    metadata = {_LATENTS: str(latents_per_range), _CHECKSUMS: text}
    save_file({"offsets": offsets, "entries": entries}, path, metadata)


class EncodedPart:
    """One encoded part of an artifact. What it returns was checked."""

    def __init__(self, artifact: Artifact, name: str) -> None:
        self._artifact = artifact
        self._file = TensorFile(artifact, name)

    def whole(self) -> tuple[Offsets, Entries]:
        """Returns offsets and entries of all latents, memory-mapped from a verified local copy."""
        return self._file.map("offsets"), self._file.map("entries")

    def latents(self, first: int, end: int) -> tuple[Offsets, Entries]:
        """Returns offsets and entries of latents `first` to before `end`, by three ranged reads.

        A part whose header has no checksum of just these latents, as one of another release, is read whole.

        Raises:
            DataLoss: the bytes are not those that were written.
        """
        expected = self._expected(first, end)
        if expected is None:
            offsets, entries = self.whole()
            return offsets[first : end + 1], entries[offsets[first] : offsets[end]]
        offsets = self._file.read_rows("offsets", first, end + 1)
        entries = self._file.read_rows("entries", int(offsets[0]), int(offsets[-1]))
        if _checksum(offsets, entries) != expected:
            raise DataLoss(
                f"{self._artifact.id}/{self._file.name}, latents {first} to {end}: the bytes do not have the checksum "
                f"of the file's header. Restore the part, or `dragoman delete {self._artifact.id}` and submit again"
            )
        return offsets, entries

    def _expected(self, first: int, end: int) -> int | None:
        """Returns the checksum of a range; None where the header has none of it, whether damaged or of other ranges."""
        try:
            step = int(self._file.metadata[_LATENTS])
            sums = np.frombuffer(base64.b64decode(self._file.metadata[_CHECKSUMS], validate=True), "<u4")
        except (KeyError, ValueError):
            return None
        latent_count = self._file.place("offsets").shape[0] - 1
        if step < 1 or first % step or end != min(first + step, latent_count) or first // step >= len(sums):
            return None
        return int(sums[first // step])


def _checksum(offsets: Offsets, entries: Entries) -> int:
    return zlib.crc32(np.ascontiguousarray(entries).data, zlib.crc32(np.ascontiguousarray(offsets).data))
