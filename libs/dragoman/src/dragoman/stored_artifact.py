"""Reads one artifact from the object store, checking every byte against its manifest."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from dragoman.artifacts import Manifest, PartInfo
from dragoman.errors import DataLoss
from dragoman.folder import find_part
from dragoman.objects import Objects
from dragoman.part_cache import PartCache


class StoredArtifact:
    """Implements `dragoman.artifacts.Artifact`. Each instance keeps the files it downloaded until it is let go."""

    def __init__(self, manifest: Manifest, objects: Objects, cache: PartCache) -> None:
        self._manifest = manifest
        self._objects = objects
        self._cache = cache

    @property
    def id(self) -> str:
        """Id of the artifact."""
        return self._manifest.id

    @property
    def manifest(self) -> Manifest:
        """The artifact's manifest; of a job that still runs, a draft with the parts there are."""
        return self._manifest

    def names(self) -> Sequence[str]:
        """Names of the parts, in the manifest's order."""
        return [part.name for part in self._manifest.parts]

    def read(self, name: str) -> bytes:
        """Returns a whole part. Raises DataLoss when its bytes are not those of the manifest, NotFound without one."""
        part = find_part(self._manifest, name)
        data = self._objects.get_bytes(part.key)
        if data is None:
            raise self._missing(part)
        self._check(part, len(data), hashlib.sha256(data).hexdigest())
        return data

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Returns `length` bytes from `offset` with one ranged request. Raises DataLoss when fewer come back."""
        part = find_part(self._manifest, name)
        if offset < 0 or length < 0 or offset + length > part.size_bytes:
            raise DataLoss(
                f"{self.id}: bytes {offset} to {offset + length} are outside {name!r} ({part.size_bytes} bytes)"
            )
        return self._objects.get_range(part.key, offset, length)

    def download(self, name: str) -> Path:
        """Returns a verified local copy of a part. It stays until this object is let go; then the cache may drop it."""
        part = find_part(self._manifest, name)
        return self._cache.get(self, part.sha256, part.name, lambda path: self._fetch(part, path))

    def _fetch(self, part: PartInfo, path: Path) -> int:
        copied = self._objects.get_file(part.key, path)
        if copied is None:
            raise self._missing(part)
        self._check(part, *copied)
        return part.size_bytes

    def _missing(self, part: PartInfo) -> DataLoss:
        return DataLoss(
            f"{self.id} lists {part.name!r}, but the object store has no {part.key}: it was removed from outside. "
            "Restore it from a backup, or remove the artifact's manifest and submit its job again"
        )

    def _check(self, part: PartInfo, size: int, sha256: str) -> None:
        if size != part.size_bytes or sha256 != part.sha256:
            raise DataLoss(
                f"{part.key} is not what the manifest of {self.id} promises: {size} bytes with sha256 {sha256}, "
                f"expected {part.size_bytes} bytes with sha256 {part.sha256}. Restore it from a backup, or remove the "
                "artifact's manifest and submit its job again"
            )
