"""One latent's kept windows as bytes: all that is needed to explain and score it, tokens included.

A record is a header (`example_records.HEADER`), varints (rows, starts, documents, numbers of activations, their offsets
in the window), one byte of marks a window, token ids as uint16 or uint32, activations as in the entries, and a crc32 of
all that is before it.
"""

import zlib
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64

from latent_cache.example_records import (
    CHECKSUM,
    DECILE_SHIFT,
    HEADER,
    RECORD_VERSION,
    SAMPLED,
    TEST,
    TOP,
    WIDE_ACTIVATIONS,
    WIDE_TOKENS,
    ExampleRecords,
    encode_records,
)
from latent_cache.scaled import ActivationDtype, activation_bytes, decode_activations
from latent_cache.varint import decode_varints
from latent_cache.windows import Window


@dataclass(frozen=True, slots=True, eq=False)
class ExampleRecord:
    """Windows in which one latent fires, in the order of row and start, each once."""

    latent: int
    window_length: int
    maximum: float
    """The latent's strongest activation, in or outside these windows."""
    rows: Int64[np.ndarray, " windows"]
    starts: Int32[np.ndarray, " windows"]
    documents: Int32[np.ndarray, " windows"]
    test: Bool[np.ndarray, " windows"]
    """Whether the document is of the test split."""
    top: Bool[np.ndarray, " windows"]
    """Whether it is one of the strongest of its split."""
    sampled: Bool[np.ndarray, " windows"]
    """Whether it is in the reservoir of its decile."""
    deciles: Int32[np.ndarray, " windows"]
    """By the strongest activation, among all windows of the split in which the latent fires; 9 is the strongest."""
    tokens: Int32[np.ndarray, "windows window_length"]
    first_activations: Int64[np.ndarray, " windows_plus_1"]
    """Window `i` owns activations `first_activations[i]:first_activations[i + 1]`."""
    offsets: Int32[np.ndarray, " n"]
    """Position of each activation in its window."""
    activations: Float32[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def peaks(self) -> Float32[np.ndarray, " windows"]:
        """The strongest activation in each window, as stored."""
        return np.maximum.reduceat(self.activations, self.first_activations[:-1]) if len(self) else self.activations

    def window(self, which: int) -> Window:
        """Returns one window with its dense activations."""
        span = slice(int(self.first_activations[which]), int(self.first_activations[which + 1]))
        dense = np.zeros(self.window_length, np.float32)
        dense[self.offsets[span]] = self.activations[span]
        return Window(
            row=int(self.rows[which]),
            start=int(self.starts[which]),
            document=int(self.documents[which]),
            split="test" if self.test[which] else "train",
            tokens=self.tokens[which],
            activations=dense,
        )


def encode_examples(record: ExampleRecord, dtype: ActivationDtype) -> bytes:
    """Returns the bytes of a record. Raises ValueError for activations outside (0, maximum]."""
    shared = {f.name: getattr(record, f.name) for f in fields(ExampleRecords) if f.name in ExampleRecord.__slots__}
    several = ExampleRecords(
        latents=np.asarray([record.latent]),
        maxima=np.asarray([record.maximum], np.float64),
        first_windows=np.asarray([0, len(record)]),
        **shared,
    )
    return next(encode_records(several, dtype))


def decode_examples(data: bytes) -> ExampleRecord:
    """Inverse of `encode_examples`. Raises ValueError when the bytes are no record, or a damaged one."""
    if len(data) < HEADER.size + CHECKSUM.size or data[0] != RECORD_VERSION:
        raise ValueError(f"{len(data)} bytes are no record of version {RECORD_VERSION}")
    end = len(data) - CHECKSUM.size
    if zlib.crc32(memoryview(data)[:end]) != CHECKSUM.unpack_from(data, end)[0]:
        raise ValueError("the record does not have the checksum it ends with")
    _, flags, latent, length, count, activation_count, varint_bytes, maximum = HEADER.unpack_from(data)
    token_type = np.dtype("<u4" if flags & WIDE_TOKENS else "<u2")
    dtype: ActivationDtype = "float32" if flags & WIDE_ACTIVATIONS else "float16"
    sizes = (varint_bytes, count, count * length * token_type.itemsize, activation_count * activation_bytes(dtype))
    bounds = np.cumsum([HEADER.size, *sizes]).tolist()
    if bounds[-1] != end:
        raise ValueError(f"{len(data)} bytes for a record that takes {bounds[-1] + CHECKSUM.size}")
    varints, marks, tokens, activations = (data[a:b] for a, b in pairwise(bounds))
    columns = decode_varints(np.frombuffer(varints, np.uint8), 4 * count + activation_count)
    counts = columns[3 * count : 4 * count]
    first_activations = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    offsets = columns[4 * count :]
    if int(first_activations[-1]) != activation_count or (activation_count and int(offsets.max()) >= length):
        raise ValueError("the activations of the record do not lie in its windows")
    flag_bytes = np.frombuffer(marks, np.uint8)
    return ExampleRecord(
        latent=latent,
        window_length=length,
        maximum=maximum,
        rows=columns[:count],
        starts=columns[count : 2 * count].astype(np.int32),
        documents=columns[2 * count : 3 * count].astype(np.int32),
        test=(flag_bytes & TEST) > 0,
        top=(flag_bytes & TOP) > 0,
        sampled=(flag_bytes & SAMPLED) > 0,
        deciles=(flag_bytes >> DECILE_SHIFT).astype(np.int32),
        tokens=np.frombuffer(tokens, token_type).reshape(count, length).astype(np.int32),
        first_activations=first_activations,
        offsets=offsets.astype(np.int32),
        activations=decode_activations(activations, maximum, dtype),
    )


def empty_record(latent: int, window_length: int) -> ExampleRecord:
    """Returns the record of a latent without windows."""
    none, no_activation, no_mark = np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0, np.bool_)
    return ExampleRecord(
        latent,
        window_length,
        0.0,
        np.empty(0, np.int64),
        none,
        none,
        no_mark,
        no_mark,
        no_mark,
        none,
        np.empty((0, window_length), np.int32),
        np.zeros(1, np.int64),
        none,
        no_activation,
    )
