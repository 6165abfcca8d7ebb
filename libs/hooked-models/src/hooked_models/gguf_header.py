"""Single values of a GGUF file's header, without the seconds that it takes to parse the vocabulary in it."""

import struct
from pathlib import Path
from typing import Any, BinaryIO

_MAGIC = b"GGUF"
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_MOST_DIMENSIONS = 4


class DamagedHeader(ValueError):
    """A length or type in the header cannot be right. The library that reads the file would follow it anywhere."""


def context_length(path: Path) -> int | None:
    """Returns the context length that a GGUF file names, None when it names none or is no GGUF file."""
    try:
        values = read_header(path)
    except DamagedHeader:
        return None
    found = values.get(f"{values.get('general.architecture', '')}.context_length")
    return found if isinstance(found, int) else None


def read_header(path: Path) -> dict[str, Any]:
    """Returns the key-value pairs that are no arrays. Raises DamagedHeader where they or the tensors do not fit."""
    with path.open("rb") as file:
        return _Header(file, path.stat().st_size).read()


class _Header:
    """Reads from a file of a known size, and never beyond its end."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def read(self) -> dict[str, Any]:
        """See `read_header`."""
        if self._take(len(_MAGIC)) != _MAGIC:
            raise DamagedHeader(f"it does not begin with {_MAGIC.decode()}")
        self._scalar("<I")
        tensor_count, value_count = self._scalar("<Q"), self._scalar("<Q")
        values: dict[str, Any] = {}
        for _ in range(value_count):
            key, kind = self._string(), self._scalar("<I")
            if kind == _ARRAY:
                self._skip_array()
            else:
                values[key] = self._string() if kind == _STRING else self._scalar(self._layout(kind))
        for _ in range(tensor_count):
            self._skip_tensor()
        return values

    def _skip_tensor(self) -> None:
        name, dimensions = self._string(), self._scalar("<I")
        if dimensions > _MOST_DIMENSIONS:
            raise DamagedHeader(f"tensor {name!r} has {dimensions} dimensions")
        self._skip(dimensions * 8 + 4 + 8)  # sizes, type, offset

    def _skip_array(self) -> None:
        kind, count = self._scalar("<I"), self._scalar("<Q")
        if kind == _STRING:
            for _ in range(count):
                self._skip(self._scalar("<Q"))
        else:  # no model has arrays of arrays
            self._skip(count * struct.calcsize(self._layout(kind)))

    def _layout(self, kind: int) -> str:
        if kind not in _SCALARS:
            raise DamagedHeader(f"a value has the unknown type {kind}")
        return _SCALARS[kind]

    def _scalar(self, layout: str) -> Any:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

    def _string(self) -> str:
        return self._take(self._scalar("<Q")).decode("utf-8", errors="replace")

    def _take(self, size: int) -> bytes:
        self._reserve(size)
        return self._file.read(size)

    def _skip(self, size: int) -> None:
        self._reserve(size)
        self._file.seek(size, 1)

    def _reserve(self, size: int) -> None:
        if size > self._left:
            raise DamagedHeader(f"it should go on for {size:,} bytes where {self._left:,} are left")
        self._left -= size
