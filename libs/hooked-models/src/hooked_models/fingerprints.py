"""sha256 of files, remembered by path, size and time of change."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from dragoman.ids import canonical_json

from hooked_models.sources import SourceFile


class JsonCache:
    """Small JSON documents in a folder. A lost or damaged one is only made again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, *key: str) -> Any | None:
        """Returns the document of a key, None when there is none."""
        try:
            return json.loads(self._path(key).read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def put(self, value: Any, *key: str) -> None:
        """Stores a document; readers see the old one or the new one, never half of it."""
        write_atomically(self._path(key), canonical_json(value))

    def _path(self, key: tuple[str, ...]) -> Path:
        return self._folder / f"{hashlib.sha256(canonical_json(list(key))).hexdigest()[:32]}.json"


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    Path(temporary).replace(path)


def combined(sums: Iterable[tuple[str, str]]) -> str:
    """Returns one sha256 for (name, sha256) pairs, whatever their order."""
    return hashlib.sha256(canonical_json(sorted([name, value] for name, value in sums))).hexdigest()


def remembered(
    cache: JsonCache, files: Iterable[SourceFile], key: tuple[str, ...], make: Callable[[SourceFile], Any]
) -> Mapping[str, Any]:
    """Returns `make(file)` by name, made anew only for files whose size or stamp changed since the last time."""
    old: dict[str, Any] = cache.get(*key) or {}
    found: dict[str, Any] = {}
    for file in files:
        known = old.get(file.name)
        if known is None or known[:3] != [file.where, file.size_bytes, file.stamp]:
            known = [file.where, file.size_bytes, file.stamp, make(file)]
        found[file.name] = known
    if found != old:
        cache.put(found, *key)
    return {name: value[3] for name, value in found.items()}


def file_sums(cache: JsonCache, files: Iterable[SourceFile], key: str) -> Mapping[str, str]:
    """Returns the sha256 of each file by name."""
    return remembered(cache, files, ("sums", key), _sum)


def _sum(file: SourceFile) -> str:
    total = hashlib.sha256()
    with file.open() as stream:
        while chunk := stream.read(1 << 20):
            total.update(chunk)
    return total.hexdigest()
