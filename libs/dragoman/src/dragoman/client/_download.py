"""Downloads: resumed where they broke off, verified, and visible under their name only when whole."""

import asyncio
import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from dragoman.artifact.v1 import artifact_pb2
from dragoman.artifacts import Manifest, PartInfo
from dragoman.client._wire import Patience, Wire
from dragoman.errors import DataLoss, DragomanError, FailedPrecondition
from dragoman.folder import file_sha256, find_part
from dragoman.manifests import MANIFEST_NAME, check_part_names, manifest_to_json
from dragoman.rpc.methods import DOWNLOAD_PART

Report = Callable[[str, int, int], object]
"""Told of the part, and of the bytes done and in all, over the whole artifact."""

_SILENCE = 60.0


async def download(wire: Wire, manifest: Manifest, folder: Path, report: Report | None) -> Path:
    """Fetches every part into `<folder>/<id>` and writes manifest.json last. Returns that folder.

    Parts that are there already, with the right hash, are not fetched again.

    Raises:
        DataLoss: A part arrived with another hash than the manifest's, twice.
        FailedPrecondition: The folder cannot be written.
    """
    check_part_names([part.name for part in manifest.parts])
    target = folder / manifest.id
    total, before = sum(part.size_bytes for part in manifest.parts), 0
    try:
        target.mkdir(parents=True, exist_ok=True)
        for part in manifest.parts:
            fetch = _Fetch(wire, manifest.id, part, target, report, before, total)
            await fetch.run()
            before += part.size_bytes
        _write(target / MANIFEST_NAME, manifest_to_json(manifest))
    except OSError as error:
        reason = f"cannot write to {target}: {error.strerror or error}; free some space or give another folder"
        raise FailedPrecondition(reason, reason="CANNOT_WRITE") from error
    return target


async def read_part(wire: Wire, manifest: Manifest, name: str) -> bytes:
    """Returns the bytes of one part. Raises NotFound when there is none of this name, and DataLoss as `download`."""
    part = find_part(manifest, name)
    check_part_names([part.name])
    with tempfile.TemporaryDirectory() as folder:
        await _Fetch(wire, manifest.id, part, Path(folder), None, 0, part.size_bytes).run()
        return (Path(folder) / part.name).read_bytes()


class _Fetch:
    """One part on its way into a folder."""

    def __init__(
        self, wire: Wire, artifact_id: str, part: PartInfo, target: Path, report: Report | None, before: int, total: int
    ) -> None:
        self._wire = wire
        self._id = artifact_id
        self._part = part
        self._path = target / part.name
        self._partial = self._path.with_name(f".{self._path.name}.partial")
        self._report = report
        self._before = before
        self._total = total

    async def run(self) -> None:
        """Fetches the part unless it is there."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if await asyncio.to_thread(self._have):
            self._tell(self._part.size_bytes)
            return
        for _ in range(2):
            await self._receive()
            if await asyncio.to_thread(file_sha256, self._partial) == self._part.sha256:
                self._partial.replace(self._path)
                return
            self._partial.unlink()
        raise DataLoss(
            f"part {self._part.name} of {self._id} arrived twice with other bytes than its manifest promises; "
            "the object store or the network damages data"
        )

    def _have(self) -> bool:
        path, part = self._path, self._part
        return path.is_file() and path.stat().st_size == part.size_bytes and file_sha256(path) == part.sha256

    async def _receive(self) -> None:
        """Appends to the partial file until it is whole, over as many connections as that takes."""
        size = self._partial.stat().st_size if self._partial.is_file() else 0
        if size > self._part.size_bytes:
            self._partial.unlink()
        self._partial.touch()
        patience = Patience(self._wire.patience)
        while self._partial.stat().st_size < self._part.size_bytes:
            try:
                await self._append(patience)
            except DragomanError as error:
                await patience.after(error)

    async def _append(self, patience: Patience) -> None:
        position = self._partial.stat().st_size
        request = artifact_pb2.DownloadPartRequest(
            artifact_id=self._id, part_name=self._part.name, offset_bytes=position
        )
        stream = self._wire.stream(DOWNLOAD_PART, request, self._wire.anywhere()[0], _SILENCE)
        with self._partial.open("ab") as file:
            async for answer in stream:
                await asyncio.to_thread(file.write, answer.data)
                position += len(answer.data)
                patience.progressed()
                self._tell(position)

    def _tell(self, done: int) -> None:
        if self._report is not None:
            self._report(self._part.name, self._before + done, self._total)


def _write(path: Path, data: bytes) -> None:
    digest = hashlib.sha256(data).hexdigest()[:8]
    partial = path.with_name(f".{path.name}.{digest}")
    partial.write_bytes(data)
    partial.replace(path)
