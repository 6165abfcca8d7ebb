"""One latent's entries as bytes: blocks of gaps between places, then activations (docs/data-flow.md, "latents").

A block is `gap_bytes` and `crc32` (uint32, little-endian), the gaps as varints, then the activations. The checksum is
over all of the block but itself. All blocks hold `BLOCK_ENTRIES` entries but the last, so that the bytes are the same
however the entries came, and a latent of any size is written without holding it.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64

from latent_cache.cutting import cut, cut_rows
from latent_cache.scaled import ActivationDtype, activation_bytes, decode_activations, encode_activations
from latent_cache.varint import decode_varints, encode_varints, varint_ends

BLOCK_ENTRIES = 1 << 16
_HEADER = struct.Struct("<II")


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """Where a latent fires, by row and then position, and how strongly."""

    rows: Int32[np.ndarray, " n"]
    positions: Int32[np.ndarray, " n"]
    activations: Float32[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.rows)


class EntryEncoder:
    """Encodes one latent's entries piece by piece; memory is that of a block and of the piece."""

    def __init__(self, maximum: float, dtype: ActivationDtype) -> None:
        """`maximum`: the latent's strongest activation over all of its entries."""
        self._maximum = maximum
        self._dtype: ActivationDtype = dtype
        self._last = 0
        self._places: list[Int64[np.ndarray, " n"]] = []
        self._activations: list[Float32[np.ndarray, " n"]] = []
        self._held = 0

    def add(self, places: Int64[np.ndarray, " n"], activations: Float32[np.ndarray, " n"]) -> bytes:
        """Takes entries that follow those before, and returns the blocks that are full.

        `places`: row * ctx_len + position, rising. Raises ValueError where they do not rise, and for activations
        outside (0, maximum].
        """
        self._places.append(places.astype(np.int64))
        self._activations.append(activations)
        self._held += len(places)
        return self._blocks(self._held // BLOCK_ENTRIES * BLOCK_ENTRIES) if self._held >= BLOCK_ENTRIES else b""

    def finish(self) -> bytes:
        """Returns the last block; nothing when all were full, or there was no entry."""
        return self._blocks(self._held) if self._held else b""

    def _blocks(self, count: int) -> bytes:
        places, activations = np.concatenate(self._places), np.concatenate(self._activations)
        self._places, self._activations = [places[count:]], [activations[count:]]
        self._held -= count
        gaps = np.diff(places[:count], prepend=self._last)
        self._last = int(places[count - 1])
        maxima = np.full(count, self._maximum)
        firsts = np.arange(0, count, BLOCK_ENTRIES)
        return b"".join(_blocks(gaps, activations[:count], maxima, firsts, self._dtype))


def encode_latents(
    places: Int64[np.ndarray, " n"],
    activations: Float32[np.ndarray, " n"],
    offsets: Int64[np.ndarray, " latents_plus_1"],
    maxima: Float64[np.ndarray, " latents"],
    dtype: ActivationDtype,
) -> list[bytes]:
    """Returns the bytes of all entries of several latents, as `encode_entries` does of one.

    Latent `j` owns entries `offsets[j]:offsets[j + 1]`, and `maxima[j]` is its strongest activation. Raises ValueError
    where the places of a latent do not rise, and for activations outside (0, maximum].
    """
    counts = np.diff(offsets)
    alive = np.flatnonzero(counts)
    gaps = np.diff(places, prepend=0)
    gaps[offsets[alive]] = places[offsets[alive]]
    block_counts = -(-counts // BLOCK_ENTRIES)
    owners = np.repeat(np.arange(len(counts)), block_counts)
    within = np.arange(len(owners)) - np.repeat(np.cumsum(block_counts) - block_counts, block_counts)
    firsts = offsets[:-1][owners] + within * BLOCK_ENTRIES
    encoded = [b""] * len(counts)
    for latent, block in zip(
        owners.tolist(), _blocks(gaps, activations, maxima.repeat(counts), firsts, dtype), strict=True
    ):
        encoded[latent] += block
    return encoded


def encode_entries(
    places: Int64[np.ndarray, " n"], activations: Float32[np.ndarray, " n"], maximum: float, dtype: ActivationDtype
) -> bytes:
    """Returns the bytes of all entries of one latent; see `encode_latents`. No bytes for no entry."""
    return encode_latents(places, activations, np.asarray([0, len(places)]), np.asarray([maximum], np.float64), dtype)[
        0
    ]


def _blocks(
    gaps: Int64[np.ndarray, " n"],
    activations: Float32[np.ndarray, " n"],
    maxima: Float64[np.ndarray, " n"],
    firsts: Int64[np.ndarray, " blocks"],
    dtype: ActivationDtype,
) -> Iterator[bytes]:
    """Yields blocks, the entries of all of them encoded at once: a call for each would cost more than its bytes.

    `firsts`: the first entry of each block; `maxima`: for each entry that of its latent.
    """
    varints = encode_varints(gaps)
    cuts = np.append(firsts, len(gaps))
    gap_cuts = np.concatenate([[0], varint_ends(varints) + 1])[cuts]
    pieces = zip(
        cut_rows(np.diff(gap_cuts).astype("<u4")),
        cut(varints.tobytes(), gap_cuts),
        cut(encode_activations(activations, maxima, dtype), cuts * activation_bytes(dtype)),
        strict=True,
    )
    for size, gap_data, activation_data in pieces:
        checksum = zlib.crc32(activation_data, zlib.crc32(gap_data, zlib.crc32(size)))
        yield b"".join((size, checksum.to_bytes(4, "little"), gap_data, activation_data))


def decode_entries(
    data: bytes, count: int, maximum: float, dtype: ActivationDtype
) -> tuple[Int64[np.ndarray, " count"], Float32[np.ndarray, " count"]]:
    """Returns the places and activations of one latent. Raises ValueError when the bytes are not `count` entries."""
    gaps: list[Int64[np.ndarray, " n"]] = [np.empty(0, np.int64)]
    activations: list[Float32[np.ndarray, " n"]] = [np.empty(0, np.float32)]
    view, at = memoryview(data), 0
    for first in range(0, count, BLOCK_ENTRIES):
        here = min(BLOCK_ENTRIES, count - first)
        if at + _HEADER.size > len(data):
            raise ValueError(f"{len(data)} bytes end before entry {first} of {count}")
        gap_bytes, checksum = _HEADER.unpack_from(data, at)
        low = at + _HEADER.size
        middle = low + gap_bytes
        at = middle + here * activation_bytes(dtype)
        if at > len(data) or _checksum(gap_bytes, view[low:at]) != checksum:
            raise ValueError(f"the block of entries {first} to {first + here} is damaged")
        gaps.append(decode_varints(np.frombuffer(view[low:middle], np.uint8), here))
        activations.append(decode_activations(view[middle:at], maximum, dtype))
    if at != len(data):
        raise ValueError(f"{len(data)} bytes for {count} entries, which take {at}")
    return np.cumsum(np.concatenate(gaps)), np.concatenate(activations)


def _checksum(gap_bytes: int, data: bytes | memoryview) -> int:
    return zlib.crc32(data, zlib.crc32(gap_bytes.to_bytes(4, "little")))
