"""An artifact that lies in memory and counts its ranged reads."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from dragoman.artifacts import Manifest

from tests.support.synthetic_latents import Parts


class MemoryArtifact:
    """Reads parts from a dict; `ranges` lists (name, offset, length) of every ranged read."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._folder = tempfile.TemporaryDirectory()
        self.ranges: list[tuple[str, int, int]] = []
        self.downloads: list[str] = []

    @property
    def id(self) -> str:
        return self._parts.manifest.id

    @property
    def manifest(self) -> Manifest:
        return self._parts.manifest

    def names(self) -> Sequence[str]:
        return [p.name for p in self.manifest.parts]

    def read(self, name: str) -> bytes:
        return self._parts.data[name]

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        self.ranges.append((name, offset, length))
        data = self._parts.data[name][offset : offset + length]
        assert len(data) == length, f"{name} ends before byte {offset + length}"
        return data

    def download(self, name: str) -> Path:
        self.downloads.append(name)
        path = Path(self._folder.name) / name
        path.write_bytes(self._parts.data[name])
        return path
