"""Shards of bytes: a safetensors file of one uint8 tensor, whose content begins at one place in every file.

So a reader that knows the byte offsets of latents needs no header: one latent is one ranged read.
"""

import json
from pathlib import Path
from types import TracebackType
from typing import Self

CONTENT_START = 128
"""First byte of the content. Before it: the header, filled up with spaces as safetensors allows."""


def entries_name(shard: int) -> str:
    """Name of the part that holds the entries of one shard of latents."""
    return f"entries-{shard:05d}.safetensors"


def examples_name(shard: int) -> str:
    """Name of the part that holds the example records of one shard of latents."""
    return f"examples-{shard:05d}.safetensors"


class ShardWriter:
    """Writes a shard piece by piece; its size need not be known before."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._file.write(bytes(CONTENT_START))
        self.byte_count = 0
        """Bytes of content so far."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self._file.seek(0)
            self._file.write(shard_header(self.byte_count))
        self._file.close()

    def append(self, data: bytes) -> None:
        """Adds content."""
        self._file.write(data)
        self.byte_count += len(data)


def shard_header(byte_count: int) -> bytes:
    """Returns what stands before so many bytes of content."""
    header = {"bytes": {"dtype": "U8", "shape": [byte_count], "data_offsets": [0, byte_count]}}
    text = json.dumps(header, separators=(",", ":")).encode().ljust(CONTENT_START - 8)
    return len(text).to_bytes(8, "little") + text
