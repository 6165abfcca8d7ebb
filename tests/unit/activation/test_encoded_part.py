"""Encoded parts: a damaged byte is never taken for an entry, wherever it lies."""

from pathlib import Path

import numpy as np
import pytest
from activation.core.entries import EncodedEntries
from activation.encoded_part import EncodedPart, write_encoded
from dragoman.artifacts import Manifest, PartInfo
from dragoman.errors import DataLoss
from dragoman.folder import FolderArtifact, file_sha256
from safetensors.numpy import save_file

D_SAE, STEP, NAME = 11, 4, "encoded-00000.safetensors"
RANGES = [(0, 4), (4, 8), (8, 11)]


def _encoded() -> EncodedEntries:
    generator = np.random.default_rng(2)
    counts = np.asarray([3, 0, 1, 2, 0, 0, 0, 0, 5, 1, 0])  # the second range is empty
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return EncodedEntries(offsets, generator.integers(-1, 1 << 30, (int(offsets[-1]), 5), dtype=np.int32))


def _artifact(folder: Path) -> FolderArtifact:
    part = PartInfo(NAME, NAME, (folder / NAME).stat().st_size, file_sha256(folder / NAME))
    return FolderArtifact(folder, Manifest("latents-0", "latents", 2, {}, {}, [part], {}))


def _right(encoded: EncodedEntries, first: int, end: int, found: tuple[np.ndarray, np.ndarray]) -> bool:
    offsets = encoded.offsets[first : end + 1]
    return np.array_equal(found[0], offsets) and np.array_equal(found[1], encoded.entries[offsets[0] : offsets[-1]])


def test_ranges_are_three_reads_and_other_ranges_are_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = _encoded()
    write_encoded(tmp_path / NAME, encoded, STEP)
    reads: list[int] = []
    read_range = FolderArtifact.read_range
    monkeypatch.setattr(FolderArtifact, "read_range", lambda self, *of: (reads.append(of[2]), read_range(self, *of))[1])
    artifact = _artifact(tmp_path)
    for first, end in RANGES:
        assert _right(encoded, first, end, EncodedPart(artifact, NAME).latents(first, end))
    assert len(reads) == 3 * 3 - 1, "of the empty range there are no entries to read"
    for first, end in [(0, 11), (0, 3), (1, 5), (8, 10)]:
        assert _right(encoded, first, end, EncodedPart(artifact, NAME).latents(first, end))
    save_file({"offsets": encoded.offsets, "entries": encoded.entries}, tmp_path / NAME)  # as before there were sums
    assert _right(encoded, 4, 8, EncodedPart(_artifact(tmp_path), NAME).latents(4, 8))


def test_any_flipped_byte_is_noticed_or_of_no_consequence(tmp_path: Path) -> None:
    encoded = _encoded()
    write_encoded(tmp_path / NAME, encoded, STEP)
    artifact, data = _artifact(tmp_path), (tmp_path / NAME).read_bytes()
    generator = np.random.default_rng(0)
    noticed = 0
    for at, flip in enumerate(generator.integers(1, 256, len(data)).tolist()):
        (tmp_path / NAME).write_bytes(data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :])
        fresh = FolderArtifact(tmp_path, artifact.manifest)
        for first, end in RANGES:
            try:
                assert _right(encoded, first, end, EncodedPart(fresh, NAME).latents(first, end)), f"byte {at}"
            except DataLoss:
                noticed += 1
        with pytest.raises(DataLoss, match="not what its manifest promises"):
            EncodedPart(fresh, NAME).whole()
    assert noticed > len(data)
