"""An artifact in the object store, read with its manifest's sizes and hashes."""

import atexit
import hashlib
import os
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

from dragoman.artifacts import Manifest, PartInfo
from dragoman.errors import DataLoss

_CACHE_BYTES = 8 << 30


class ObjectReader(Protocol):
    """What of a store an artifact needs."""

    def get_bytes(self, key: str) -> bytes | None: ...

    def get_range(self, key: str, offset: int, length: int) -> bytes: ...

    def get_file(self, key: str, path: Path) -> bool: ...


class StoredArtifact:
    """Implements `dragoman.artifacts.Artifact` over an object store."""

    def __init__(self, store: ObjectReader, manifest: Manifest) -> None:
        self._store = store
        self._manifest = manifest

    @property
    def id(self) -> str:
        """Id of the artifact."""
        return self._manifest.id

    @property
    def manifest(self) -> Manifest:
        """Its manifest; of an uncommitted artifact, the parts alone."""
        return self._manifest

    def names(self) -> Sequence[str]:
        """Names of the parts, in the manifest's order."""
        return [part.name for part in self._manifest.parts]

    def read(self, name: str) -> bytes:
        """Returns a whole part. Raises DataLoss when its bytes are not those of the manifest."""
        part = self._manifest.part(name)
        data = self._store.get_bytes(part.key)
        if data is None or hashlib.sha256(data).hexdigest() != part.sha256:
            raise _loss(self.id, part, "missing" if data is None else "not what the manifest promises")
        return data

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Returns `length` bytes from `offset`. Raises DataLoss when fewer come back."""
        part = self._manifest.part(name)
        data = self._store.get_range(part.key, offset, length)
        if len(data) != length:
            raise _loss(self.id, part, f"shorter than {offset + length} bytes")
        return data

    def download(self, name: str) -> Path:
        """Returns a verified local copy, kept until the process ends or room is needed."""
        part = self._manifest.part(name)
        return _downloads().get(self._store, self.id, part)


class Downloads:
    """Verified local copies of parts, the least recently used dropped first."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit = limit_bytes
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, store: ObjectReader, artifact_id: str, part: PartInfo) -> Path:
        """Returns the local copy of a part. Raises DataLoss when the store's bytes are wrong."""
        path = self._folder / f"{part.sha256}{Path(part.name).suffix}"
        with self._lock:
            if path.name in self._sizes:
                self._sizes.move_to_end(path.name)
                return path
            self._make_room(part.size_bytes)
            _fetch(store, artifact_id, part, path)
            self._sizes[path.name] = part.size_bytes
        return path

    def _make_room(self, size: int) -> None:
        while self._sizes and sum(self._sizes.values()) + size > self._limit:
            name, _ = self._sizes.popitem(last=False)
            (self._folder / name).unlink(missing_ok=True)


def _fetch(store: ObjectReader, artifact_id: str, part: PartInfo, path: Path) -> None:
    partial = path.with_name(path.name + ".partial")
    if not store.get_file(part.key, partial):
        raise _loss(artifact_id, part, "missing")
    with partial.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != part.sha256:
            raise _loss(artifact_id, part, "not what the manifest promises")
    partial.replace(path)


def _loss(artifact_id: str, part: PartInfo, what: str) -> DataLoss:
    return DataLoss(f"part {part.name} of {artifact_id} is {what} (object {part.key}); run its job again")


@cache
def _downloads() -> Downloads:
    root = Path(tempfile.gettempdir())
    for old in root.glob("dragoman-parts-*"):
        if not Path(f"/proc/{old.name.rpartition('-')[2]}").exists() and Path("/proc/self").exists():
            shutil.rmtree(old, ignore_errors=True)  # left by a process that was killed
    folder = root / f"dragoman-parts-{os.getpid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Downloads(folder, _CACHE_BYTES)
