"""Files to read: of this machine, or objects of the configured store."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from dragoman.errors import FailedPrecondition, InvalidSpec
from dragoman.source_policy import Sources
from dragoman.store import Store

S3 = "s3://"
_READ_AHEAD = 4 << 20


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file: its name below the source, and a stamp that changes when it is written."""

    name: str
    size_bytes: int
    stamp: str
    where: str = field(compare=False)
    """Path, or key in the store."""
    store: Store | None = field(default=None, compare=False, repr=False)

    def open(self) -> BinaryIO:
        """Opens the file for reading and seeking."""
        if self.store is None:
            return Path(self.where).open("rb")
        raw: Any = _ObjectReader(self.store, self.where, self.size_bytes)
        return io.BufferedReader(raw, _READ_AHEAD)


class _ObjectReader(io.RawIOBase):
    """Reads an object by ranges."""

    def __init__(self, store: Store, key: str, size: int) -> None:
        self._store, self._key, self._size, self._at = store, key, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self._size - self._at)
        if length <= 0:
            return 0
        data = self._store.objects.get_range(self._key, self._at, length)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def list_source(source: str, store: Store | None, *, field_name: str) -> Sequence[SourceFile]:
    """Returns the files of a file, a folder (recursive) or an s3:// uri, in name order; hidden ones are left out.

    Raises InvalidSpec when there is nothing.
    """
    files = _list_objects(source, store, field_name) if source.startswith(S3) else _list_path(Path(source), field_name)
    if not files:
        raise InvalidSpec(f"{source} holds no files", field=field_name, reason="SOURCE_EMPTY")
    return sorted(files, key=lambda f: f.name)


def list_allowed(source: str, store: Store | None, *, field_name: str) -> Sequence[SourceFile]:
    """The same for a source that a spec names: what the operator does not allow is refused, also behind links."""
    if not source.startswith(S3):
        Sources.policy.check_path(Path(source), field_name)
    files = list_source(source, store, field_name=field_name)
    for file in files:
        if file.store is None:
            Sources.policy.check_path(Path(file.where), field_name)
    return files


def _list_path(path: Path, field_name: str) -> list[SourceFile]:
    if path.is_file():
        return [_local_file(path.name, path)]
    if not path.is_dir():
        raise InvalidSpec(
            f"there is no file or folder {str(path)!r} on the server's machine; "
            "give a path that the service and its workers can read, or an s3:// uri",
            field=field_name,
            reason="SOURCE_NOT_FOUND",
        )
    names = (p.relative_to(path) for p in path.rglob("*") if p.is_file())
    return [_local_file(n.as_posix(), path / n) for n in names if not any(part.startswith(".") for part in n.parts)]


def _local_file(name: str, path: Path) -> SourceFile:
    status = path.stat()
    return SourceFile(name, status.st_size, str(status.st_mtime_ns), str(path.resolve()))


def _list_objects(uri: str, store: Store | None, field_name: str) -> list[SourceFile]:
    if store is None:
        raise FailedPrecondition(f"{uri} cannot be read: this server has no object store; set DRAGOMAN_S3_ENDPOINT")
    bucket, _, prefix = uri.removeprefix(S3).partition("/")
    if bucket != store.config.bucket:
        raise InvalidSpec(
            f"{uri} is in the bucket {bucket!r}; this server reads only its own bucket {store.config.bucket!r}",
            field=field_name,
            reason="SOURCE_NOT_FOUND",
        )
    Sources.policy.check_prefix(prefix, field_name)
    found: list[SourceFile] = []
    for info in store.objects.list(prefix):
        rest = info.key.removeprefix(prefix)
        # A prefix is a name, not a part of one: "a/b" is not the folder of "a/bc".
        if rest and not rest.startswith("/") and not prefix.endswith("/") and prefix:
            continue
        name = rest.strip("/") or info.key.rsplit("/", 1)[-1]
        if not any(part.startswith(".") for part in name.split("/")):
            found.append(SourceFile(name, info.size_bytes, info.version, info.key, store))
    if not found:
        raise InvalidSpec(f"there is no object at {uri}", field=field_name, reason="SOURCE_NOT_FOUND")
    return found
