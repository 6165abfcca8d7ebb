"""Ranged reads of rows of tensors in safetensors parts: the header, then only what is asked for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from dragoman.artifacts import Artifact
from dragoman.errors import DataLoss
from dragoman.folder import find_part

# Headers of our own files are shorter, and are read by one request.
_HEAD_BYTES = 8192
_BFLOAT16 = np.dtype("<u2")
"""Of bfloat16, which NumPy does not have: its bits. See `widened`."""
_DTYPES = {
    "I32": np.dtype("<i4"), "I64": np.dtype("<i8"), "F16": np.dtype("<f2"), "BF16": _BFLOAT16, "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """Where one tensor lies in its file."""

    dtype: "np.dtype[Any]"
    shape: tuple[int, ...]
    first_byte: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, that is one index of the first axis."""
        return self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))


@dataclass(frozen=True, slots=True)
class _Header:
    places: Mapping[str, TensorPlace]
    metadata: Mapping[str, str]


def widened(values: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Returns values as they are, those of bfloat16 as float32, of which they are the upper halves."""
    return (values.astype("<u4") << 16).view("<f4") if values.dtype == _BFLOAT16 else values


class TensorFile:
    """One safetensors part of an artifact. The header is read once, on the first use."""

    def __init__(self, artifact: Artifact, name: str) -> None:
        self._artifact = artifact
        self.name = name
        self._header: _Header | None = None

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the header says besides its tensors. Raises DataLoss when it cannot be read."""
        return self._read_header().metadata

    def place(self, tensor: str) -> TensorPlace:
        """Returns where a tensor lies. Raises DataLoss when the part has no such tensor."""
        places = self._read_header().places
        if tensor not in places:
            raise DataLoss(f"{self._artifact.id}/{self.name} has no tensor {tensor!r}; it has {sorted(places)}")
        return places[tensor]

    def read_rows(self, tensor: str, first: int, end: int) -> "np.ndarray[Any, Any]":
        """Returns rows `first:end` of a tensor by one ranged read. Raises DataLoss when the tensor is shorter."""
        place = self.place(tensor)
        if not 0 <= first <= end <= place.shape[0]:
            raise DataLoss(
                f"{self._artifact.id}/{self.name} has {place.shape[0]} rows of {tensor!r}; "
                f"its manifest and index promise rows {first} to {end}"
            )
        shape = (end - first, *place.shape[1:])
        if first == end:
            return np.empty(shape, place.dtype)
        offset = place.first_byte + first * place.row_bytes
        data = self._artifact.read_range(self.name, offset, (end - first) * place.row_bytes)
        return np.frombuffer(data, place.dtype).reshape(shape)

    def map(self, tensor: str) -> "np.ndarray[Any, Any]":
        """Returns a whole tensor, memory-mapped from a verified local copy of the part."""
        path = self._artifact.download(self.name)
        with path.open("rb") as file:  # in the place of a header that a ranged read gave, which nothing vouches for
            size = int.from_bytes(file.read(8), "little")
            self._header = self._parsed(size, file.read(size))
        place = self.place(tensor)
        if 0 in place.shape:
            return np.empty(place.shape, place.dtype)
        return np.memmap(path, place.dtype, "r", place.first_byte, place.shape)

    def _read_header(self) -> _Header:
        if self._header is None:
            whole = find_part(self._artifact.manifest, self.name).size_bytes
            data = self._artifact.read_range(self.name, 0, max(8, min(_HEAD_BYTES, whole)))
            size = min(int.from_bytes(data[:8], "little"), whole)  # of a damaged one not more than there is
            if 8 + size > len(data):
                data += self._artifact.read_range(self.name, len(data), 8 + size - len(data))
            self._header = self._parsed(size, data[8 : 8 + size])
        return self._header

    def _parsed(self, size: int, text: bytes) -> _Header:
        content = 8 + size
        try:
            header: dict[str, Any] = json.loads(text)
            metadata = header.pop("__metadata__", {})
            places = {
                name: TensorPlace(_DTYPES[h["dtype"]], tuple(map(int, h["shape"])), content + int(h["data_offsets"][0]))
                for name, h in header.items()
            }
        except (ValueError, KeyError, TypeError) as error:
            raise DataLoss(f"{self._artifact.id}/{self.name} has no header of a safetensors file: {error}") from error
        return _Header(places, metadata)
