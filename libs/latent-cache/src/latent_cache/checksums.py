"""The crc32s of blocks in a safetensors header, by which a ranged read is checked."""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from jaxtyping import UInt32

# One field for all: the order of several in a header is not always the same, and neither would the file be.
_FIELD = "checksums"


@dataclass(frozen=True, slots=True, eq=False)
class Checksums:
    """Sums of equal blocks; the last one may be shorter."""

    step: int
    """Rows, or whatever is counted, in a block."""
    sums: Mapping[str, UInt32[np.ndarray, " blocks"]]
    """By name: of a tensor, or of what several have of a block."""

    def metadata(self) -> dict[str, str]:
        """Returns the field of a safetensors header that `read` reads."""
        texts = {name: base64.b64encode(sums.astype("<u4").tobytes()).decode() for name, sums in self.sums.items()}
        return {_FIELD: json.dumps({"step": self.step, **texts})}

    @classmethod
    def read(cls, metadata: Mapping[str, str]) -> Self | None:
        """Returns the sums of a header; None where it has none, as that of an earlier release, or a damaged one."""
        try:
            found: dict[str, Any] = json.loads(metadata[_FIELD])
            step = int(found.pop("step"))
            texts = {name: base64.b64decode(text, validate=True) for name, text in found.items()}
            sums = {name: np.frombuffer(text, "<u4") for name, text in texts.items()}
        except (KeyError, ValueError, TypeError, AttributeError):
            return None
        return cls(step, sums) if step > 0 else None


def crc32(*arrays: "np.ndarray[Any, Any]") -> int:
    """Returns a crc32 over what arrays are and their bytes, one behind the other.

    What they are, as "<i4 (32, 128)": alone, zeros behind four bytes of ones (the -1 of BOS and then document 0) have
    the same sum however many they are.
    """
    value = 0
    for array in arrays:
        value = zlib.crc32(f"{array.dtype.str} {array.shape}".encode(), value)
        value = zlib.crc32(np.ascontiguousarray(array).data, value)
    return value
