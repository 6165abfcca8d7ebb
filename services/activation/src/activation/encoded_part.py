"""Encoded parts: written by an encoding task, read by ranges of latents against checksums. Imports no torch.

A part is a safetensors file of the two tensors of `activation.core.entries`. Its latents are cut into ranges, as the
job's shards are, and its header has the crc32 of each range: of its offsets, then of its entries.
"""

from pathlib import Path

import numpy as np
from dragoman.artifacts import Artifact
from dragoman.errors import DataLoss
from jaxtyping import Int32, Int64
from latent_cache.checksums import Checksums, crc32
from latent_cache.tensor_file import TensorFile
from safetensors.numpy import save_file

from activation.core.entries import EncodedEntries

_LATENTS = "latents"

Offsets = Int64[np.ndarray, " latents_plus_1"]
Entries = Int32[np.ndarray, "n 5"]


def write_encoded(path: Path, encoded: EncodedEntries, latents_per_range: int) -> None:
    """Writes a part that can be read by runs of `latents_per_range` latents; the last run may be shorter."""
    offsets, entries = encoded.offsets, encoded.entries
    sums: list[int] = []
    for first in range(0, len(offsets) - 1, latents_per_range):
        own = offsets[first : first + latents_per_range + 1]
        sums.append(crc32(own, entries[own[0] : own[-1]]))
    checksums = Checksums(latents_per_range, {_LATENTS: np.asarray(sums, np.uint32)})
    save_file({"offsets": offsets, "entries": entries}, path, checksums.metadata())


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
        if crc32(offsets, entries) != expected:
            raise DataLoss(
                f"{self._artifact.id}/{self._file.name}, latents {first} to {end}: the bytes do not have the checksum "
                f"of the file's header. Restore the part, or `dragoman delete {self._artifact.id}` and submit again"
            )
        return offsets, entries

    def _expected(self, first: int, end: int) -> int | None:
        """Returns the checksum of a range; None where the header has none of it, whether damaged or of other ranges."""
        found = Checksums.read(self._file.metadata)
        if found is None or _LATENTS not in found.sums:
            return None
        step, sums = found.step, found.sums[_LATENTS]
        latent_count = self._file.place("offsets").shape[0] - 1
        if first % step or end != min(first + step, latent_count) or first // step >= len(sums):
            return None
        return int(sums[first // step])
