"""Single values of a GGUF file's header, without the seconds that it takes to parse the vocabulary in it."""

import struct
from pathlib import Path
from typing import Any, BinaryIO

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9


def context_length(path: Path) -> int | None:
    """Returns the context length that a GGUF file names, None when it names none or is no GGUF file."""
    try:
        with path.open("rb") as file:
            values = _read_header(file)
    except (struct.error, KeyError):
        return None
    found = values.get(f"{values.get('general.architecture', '')}.context_length")
    return found if isinstance(found, int) else None


def _read_header(file: BinaryIO) -> dict[str, Any]:
    """Returns the key-value pairs that are no arrays."""
    if file.read(4) != b"GGUF":
        return {}
    _scalar(file, "<I")
    _scalar(file, "<Q")
    values: dict[str, Any] = {}
    for _ in range(_scalar(file, "<Q")):
        key, kind = _string(file), _scalar(file, "<I")
        if kind == _ARRAY:
            _skip_array(file)
        else:
            values[key] = _string(file) if kind == _STRING else _scalar(file, _SCALARS[kind])
    return values


def _scalar(file: BinaryIO, layout: str) -> Any:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))[0]


def _string(file: BinaryIO) -> str:
    return file.read(_scalar(file, "<Q")).decode("utf-8", errors="replace")


def _skip_array(file: BinaryIO) -> None:
    kind, count = _scalar(file, "<I"), _scalar(file, "<Q")
    if kind == _ARRAY:
        for _ in range(count):
            _skip_array(file)
    elif kind == _STRING:
        for _ in range(count):
            file.seek(_scalar(file, "<Q"), 1)
    else:
        file.seek(count * struct.calcsize(_SCALARS[kind]), 1)
