"""Writes the example records of many latents at once; their layout is described in `latent_cache.example_record`."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt8

from latent_cache.cutting import cut
from latent_cache.scaled import ActivationDtype, activation_bytes, encode_activations
from latent_cache.varint import encode_varints, varint_ends

RECORD_VERSION = 1
# version, flags, latent, window length, windows, activations, bytes of varints, maximum
HEADER = struct.Struct("<BBIIIIIf")
CHECKSUM = struct.Struct("<I")
WIDE_TOKENS, WIDE_ACTIVATIONS = 1, 2
TEST, TOP, SAMPLED, DECILE_SHIFT = 1, 2, 4, 3


@dataclass(frozen=True, slots=True, eq=False)
class ExampleRecords:
    """Windows of several latents, latent by latent, and for each in the order of row and start.

    Columns are those of `ExampleRecord`, one latent after the other.
    """

    latents: Int64[np.ndarray, " latents"]
    maxima: Float64[np.ndarray, " latents"]
    """The strongest activation of each latent, in or outside these windows."""
    first_windows: Int64[np.ndarray, " latents_plus_1"]
    """Latent `j` owns windows `first_windows[j]:first_windows[j + 1]`."""
    rows: Int64[np.ndarray, " windows"]
    starts: Int32[np.ndarray, " windows"]
    documents: Int32[np.ndarray, " windows"]
    test: Bool[np.ndarray, " windows"]
    top: Bool[np.ndarray, " windows"]
    sampled: Bool[np.ndarray, " windows"]
    deciles: Int32[np.ndarray, " windows"]
    tokens: Int32[np.ndarray, "windows window_length"]
    first_activations: Int64[np.ndarray, " windows_plus_1"]
    """Window `i`, of all latents, owns activations `first_activations[i]:first_activations[i + 1]`."""
    offsets: Int32[np.ndarray, " n"]
    activations: Float32[np.ndarray, " n"]

    @property
    def window_counts(self) -> Int64[np.ndarray, " latents"]:
        """Windows of each latent."""
        return np.diff(self.first_windows)

    @property
    def activation_bounds(self) -> Int64[np.ndarray, " latents_plus_1"]:
        """Latent `j` owns activations `activation_bounds[j]:activation_bounds[j + 1]`."""
        return self.first_activations[self.first_windows]


def encode_records(records: ExampleRecords, dtype: ActivationDtype) -> Iterator[bytes]:
    """Yields the bytes of each latent's record. Raises ValueError for activations outside (0, maximum]."""
    bounds = records.activation_bounds
    varints, varint_bounds = _varints(records, bounds)
    wide = _wide(records)
    flags = WIDE_TOKENS * wide | WIDE_ACTIVATIONS * (dtype == "float32")
    activations = encode_activations(records.activations, records.maxima.repeat(np.diff(bounds)), dtype)
    pieces = zip(
        _headers(records, flags, np.diff(bounds), np.diff(varint_bounds)),
        cut(varints, varint_bounds),
        cut(_marks(records).tobytes(), records.first_windows),
        _tokens(records, wide),
        cut(activations, bounds * activation_bytes(dtype)),
        strict=True,
    )
    for several in pieces:
        data = b"".join(several)
        yield data + CHECKSUM.pack(zlib.crc32(data))


def _headers(
    records: ExampleRecords,
    flags: Int64[np.ndarray, " latents"],
    activation_counts: Int64[np.ndarray, " latents"],
    varint_bytes: Int64[np.ndarray, " latents"],
) -> list[bytes]:
    length, counts = records.tokens.shape[1], records.window_counts
    columns = (flags, records.latents, counts, activation_counts, varint_bytes, records.maxima)
    values = zip(*(column.tolist() for column in columns), strict=True)
    return [HEADER.pack(RECORD_VERSION, f, latent, length, w, n, size, top) for f, latent, w, n, size, top in values]


def _wide(records: ExampleRecords) -> Bool[np.ndarray, " latents"]:
    """Whether a token id of a record needs more than 2 bytes."""
    owners = np.repeat(np.arange(len(records.latents)), records.window_counts)
    large = (records.tokens >= 1 << 16).any(1)
    return np.bincount(owners[large], minlength=len(records.latents)) > 0


def _tokens(records: ExampleRecords, wide: Bool[np.ndarray, " latents"]) -> list[bytes]:
    """Returns the token ids of each record in 2 bytes each, or 4 where one of the record needs them."""
    windows, length = records.first_windows, records.tokens.shape[1]
    pieces = cut(records.tokens.astype("<u2").tobytes(), windows * length * 2)
    for latent in np.flatnonzero(wide):
        pieces[latent] = records.tokens[windows[latent] : windows[latent + 1]].astype("<u4").tobytes()
    return pieces


def _marks(records: ExampleRecords) -> UInt8[np.ndarray, " windows"]:
    flags = records.test * TEST | records.top * TOP | records.sampled * SAMPLED
    return (flags | records.deciles << DECILE_SHIFT).astype(np.uint8)


def _varints(
    records: ExampleRecords, bounds: Int64[np.ndarray, " latents_plus_1"]
) -> tuple[bytes, Int64[np.ndarray, " latents_plus_1"]]:
    """Returns the varints of all records and where those of each begin.

    A record's are four columns of its windows, then the offsets of its activations.
    """
    counts = records.window_counts
    begins = 4 * records.first_windows + bounds
    values = np.empty(int(begins[-1]), np.int64)
    at = np.arange(int(records.first_windows[-1])) + np.repeat(begins[:-1] - records.first_windows[:-1], counts)
    steps = np.repeat(counts, counts)
    columns = (records.rows, records.starts, records.documents, np.diff(records.first_activations))
    for number, column in enumerate(columns):
        values[at + number * steps] = column
    firsts = begins[:-1] + 4 * counts - bounds[:-1]
    values[np.arange(int(bounds[-1])) + np.repeat(firsts, np.diff(bounds))] = records.offsets
    varints = encode_varints(values)
    ends = np.concatenate([[0], varint_ends(varints) + 1])
    return varints.tobytes(), ends[begins]
