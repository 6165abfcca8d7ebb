"""Writes a safetensors file piece by piece, so that a shard need not fit in memory."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

_ITEM_BYTES = {"F32": 4, "BF16": 2, "F16": 2, "I32": 4, "I64": 8}


class TensorStream:
    """A safetensors file whose tensors grow side by side to shapes that are known before."""

    def __init__(self, path: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        """`tensors`: name to safetensors dtype ("F32", "BF16", "F16", "I32", "I64") and shape."""
        header: dict[str, object] = {}
        self._next: dict[str, int] = {}
        self._end: dict[str, int] = {}
        at = 0
        for name, (dtype, shape) in tensors.items():
            size = _ITEM_BYTES[dtype]
            for length in shape:
                size *= length
            header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
            self._next[name], self._end[name] = at, at + size
            at += size
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._base = 8 + len(text)
        self._file = path.open("wb")
        self._file.write(len(text).to_bytes(8, "little") + text)
        self._file.truncate(self._base + at)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        unfilled = [name for name, end in self._end.items() if self._next[name] != end]
        if error is None and unfilled:
            raise ValueError(f"tensors {unfilled} are not complete")

    def append(self, name: str, data: bytes | memoryview) -> None:
        """Writes the next bytes of a tensor, in row-major order. Raises ValueError beyond its end."""
        at = self._next[name]
        if at + len(data) > self._end[name]:
            raise ValueError(f"tensor {name!r} is {len(data)} bytes past the shape it was announced with")
        self._file.seek(self._base + at)
        self._file.write(data)
        self._next[name] = at + len(data)
