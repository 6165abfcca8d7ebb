"""Artifacts in a local folder: what `dragoman get` leaves behind, readable like one in the store."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from dragoman.artifacts import Manifest, PartInfo
from dragoman.errors import DataLoss, NotFound
from dragoman.manifests import MANIFEST_NAME, check_part_names, manifest_from_json

_BLOCK = 1 << 20


class FolderArtifact:
    """Reads the artifact of a folder that holds manifest.json and each part under its name.

    Without `manifest` it is read from the folder; raises NotFound when there is none.
    """

    def __init__(self, path: Path, manifest: Manifest | None = None) -> None:
        self.path = path
        self._manifest = manifest or _read_manifest(path)
        self._verified: set[str] = set()
        check_part_names(self.names())

    @property
    def id(self) -> str:
        """Id of the artifact."""
        return self._manifest.id

    @property
    def manifest(self) -> Manifest:
        """The artifact's manifest."""
        return self._manifest

    def names(self) -> Sequence[str]:
        """Names of the parts, in the manifest's order."""
        return [part.name for part in self._manifest.parts]

    def read(self, name: str) -> bytes:
        """Returns a whole part. Raises DataLoss when its bytes are not those of the manifest, NotFound without one."""
        part = self._part(name)
        path = self._existing(part)
        data = path.read_bytes()
        _check(part, path, len(data), hashlib.sha256(data).hexdigest())
        return data

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Returns `length` bytes from `offset`. Raises DataLoss when fewer are there."""
        path = self._existing(self._part(name))
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
        if len(data) != length:
            raise DataLoss(f"{path}: expected {length} bytes at {offset}, found {len(data)}; download the part again")
        return data

    def download(self, name: str) -> Path:
        """Returns the part's own file, verified once."""
        part = self._part(name)
        path = self._existing(part)
        if name not in self._verified:
            _check(part, path, path.stat().st_size, file_sha256(path))
            self._verified.add(name)
        return path

    def _part(self, name: str) -> PartInfo:
        return find_part(self._manifest, name)

    def _existing(self, part: PartInfo) -> Path:
        path = self.path / part.name
        if not path.is_file():
            raise NotFound(f"{self.path} holds no file for part {part.name!r} of {self.id}; download it again")
        return path


class FolderArtifacts:
    """Finds artifacts by id in folders side by side: `<root>/<id>/manifest.json`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def artifact(self, id_: str) -> FolderArtifact:
        """Returns an artifact. Raises NotFound."""
        return FolderArtifact(self.root / id_)

    def manifest(self, id_: str) -> Manifest | None:
        """Returns an artifact's manifest, or None when there is none."""
        path = self.root / id_
        return _read_manifest(path) if (path / MANIFEST_NAME).is_file() else None


def find_part(manifest: Manifest, name: str) -> PartInfo:
    """Returns a part by name. Raises NotFound with the names there are."""
    try:
        return manifest.part(name)
    except KeyError:
        near = ", ".join(part.name for part in manifest.parts[:20]) or "none"
        raise NotFound(f"{manifest.id} has no part {name!r}; it has {near}", reason="UNKNOWN_PART") from None


def file_sha256(path: Path) -> str:
    """Returns the hex sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _read_manifest(path: Path) -> Manifest:
    file = path / MANIFEST_NAME
    if not file.is_file():
        raise NotFound(f"{path} holds no {MANIFEST_NAME}, so it is no artifact; `dragoman get ID` makes such a folder")
    return manifest_from_json(file.read_bytes())


def _check(part: PartInfo, path: Path, size: int, sha256: str) -> None:
    if size != part.size_bytes or sha256 != part.sha256:
        raise DataLoss(
            f"{path} is not what its manifest promises: {size} bytes with sha256 {sha256}, expected {part.size_bytes} "
            f"bytes with sha256 {part.sha256}; download the part again"
        )
