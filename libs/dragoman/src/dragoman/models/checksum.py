"""Checksums of files and folders, remembered so that a gigabyte is not read at every start."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

_BLOCK = 1 << 20


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """Hex sha256 of a file, or of a folder's sorted `<sha256>  <relative path>` lines."""
    if path.is_file():
        return file_sha256(path)
    lines = [f"{file_sha256(file)}  {file.relative_to(path).as_posix()}\n" for file in _files(path)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def matches(path: Path, expected: str) -> bool:
    """Whether `path` has that sum; a receipt beside it saves reading the bytes again while nothing changed."""
    if not path.exists():
        return False
    receipt = _receipt(path)
    state = {"sha256": expected, "files": _state(path)}
    if receipt.is_file() and receipt.read_text(encoding="utf-8") == json.dumps(state):
        return True
    if sha256(path) != expected:
        return False
    write_receipt(path, expected)
    return True


def write_receipt(path: Path, digest: str) -> None:
    """Record that `path`, as it is now, was found to have the sum `digest`."""
    state = {"sha256": digest, "files": _state(path)}
    _receipt(path).write_text(json.dumps(state), encoding="utf-8")


def _files(path: Path) -> Iterator[Path]:
    return iter(sorted(file for file in path.rglob("*") if file.is_file()))


def _state(path: Path) -> list[list[str | int]]:
    files = [path] if path.is_file() else list(_files(path))
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _receipt(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256.json")
