"""The inverted layout of a latents artifact (docs/data-flow.md, "latents"): how its bytes are written and found.

Entries are sorted by latent, then row, then position, so that one latent is one contiguous range of one shard.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32, Int64
from safetensors.numpy import load, save, save_file  # pyright: ignore[reportUnknownVariableType]

INDEX_NAME = "index.safetensors"
TOP_WINDOWS_NAME = "top_windows.parquet"
ENTRIES_TENSOR = "entries"
ENTRY_BYTES = 12


@dataclass(frozen=True, slots=True)
class Entries:
    """Where a latent fires, by row and then position, and how strongly."""

    rows: Int32[np.ndarray, " n"]
    positions: Int32[np.ndarray, " n"]
    activations: Float32[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.rows)


def shard_name(shard: int) -> str:
    """Name of the part that holds one shard of entries."""
    return f"entries-{shard:05d}.safetensors"


def pack(
    rows: Int32[np.ndarray, " n"], positions: Int32[np.ndarray, " n"], activations: Float32[np.ndarray, " n"]
) -> Int32[np.ndarray, "n 3"]:
    """Returns entries as stored: row, position and the bit pattern of the float32 activation."""
    packed = np.empty((len(rows), 3), np.int32)
    packed[:, 0] = rows
    packed[:, 1] = positions
    packed[:, 2] = np.ascontiguousarray(activations, np.float32).view(np.int32)
    return packed


def unpack(packed: Int32[np.ndarray, "n 3"]) -> Entries:
    """Inverse of `pack`; the columns are contiguous copies."""
    columns = np.ascontiguousarray(packed.T)
    return Entries(columns[0], columns[1], columns[2].view(np.float32))


def write_entries(path: Path, packed: Int32[np.ndarray, "n 3"]) -> None:
    """Writes one shard of packed entries."""
    save_file({ENTRIES_TENSOR: np.ascontiguousarray(packed, np.int32)}, path)


def plan_shards(
    firing_count: Int64[np.ndarray, " d_sae"], entries_per_shard: int
) -> Int64[np.ndarray, " shards_plus_1"]:
    """Returns `shard_starts`: cuts latents into shards of about `entries_per_shard` entries, no latent in two of them.

    A shard is closed by the latent that fills it, so that it holds at most one latent's entries too many.
    """
    ends = np.cumsum(firing_count, dtype=np.int64)
    starts = [0]
    while starts[-1] < len(ends):
        before = int(ends[starts[-1] - 1]) if starts[-1] else 0
        last = int(np.searchsorted(ends, before + entries_per_shard))
        starts.append(min(last + 1, len(ends)))
    return np.asarray(starts, np.int64)


@dataclass(frozen=True, slots=True)
class LatentIndex:
    """Where each latent's entries lie, and what was counted in the same pass."""

    offsets: Int64[np.ndarray, " d_sae_plus_1"]
    """Latent `j` owns entries `offsets[j]:offsets[j + 1]`, counted over all shards."""
    shard_starts: Int64[np.ndarray, " shards_plus_1"]
    """Shard `s` holds latents `shard_starts[s]:shard_starts[s + 1]`."""
    firing_count: Int64[np.ndarray, " d_sae"]
    firing_count_train: Int64[np.ndarray, " d_sae"]
    firing_count_test: Int64[np.ndarray, " d_sae"]
    max_activation: Float32[np.ndarray, " d_sae"]
    mean_activation: Float32[np.ndarray, " d_sae"]
    """Mean of the nonzero activations."""
    mean_square: Float32[np.ndarray, " d_sae"]
    """Mean square of the nonzero activations."""
    quantiles: Float32[np.ndarray, "d_sae 11"]
    """0 %, 10 %, ... 100 % of the nonzero activations."""
    token_entropy: Float32[np.ndarray, " d_sae"]
    """Entropy of the activation mass over token ids, nats (Heap et al. 2501.17727, a.1)."""

    @property
    def d_sae(self) -> int:
        """Number of latents, dead ones included."""
        return len(self.firing_count)

    def shard_of(self, latent: int) -> int:
        """The shard that holds a latent's entries."""
        return int(np.searchsorted(self.shard_starts, latent, side="right")) - 1

    def entry_range(self, latent: int) -> tuple[int, int]:
        """First and end entry of a latent, counted from the start of its shard."""
        base = int(self.offsets[self.shard_starts[self.shard_of(latent)]])
        return int(self.offsets[latent]) - base, int(self.offsets[latent + 1]) - base

    def ranking(self) -> Int64[np.ndarray, " d_sae"]:
        """Latents by falling firing count over all documents, ties by latent index."""
        return np.argsort(-self.firing_count, kind="stable").astype(np.int64)


_DTYPES = {
    "offsets": np.int64,
    "shard_starts": np.int64,
    "firing_count": np.int64,
    "firing_count_train": np.int64,
    "firing_count_test": np.int64,
}


def index_bytes(index: LatentIndex) -> bytes:
    """Returns the content of `index.safetensors`; the same index gives the same bytes."""
    tensors = {
        f.name: np.ascontiguousarray(getattr(index, f.name), _DTYPES.get(f.name, np.float32))
        for f in fields(LatentIndex)
    }
    return save(tensors)


def write_index(path: Path, index: LatentIndex) -> None:
    """Writes `index.safetensors`."""
    path.write_bytes(index_bytes(index))


def read_index(data: bytes) -> LatentIndex:
    """Returns the index in the bytes of `index.safetensors`. Raises KeyError when a tensor is missing."""
    tensors = load(data)
    return LatentIndex(**{f.name: tensors[f.name] for f in fields(LatentIndex)})


def concatenate(shards: Sequence[Entries]) -> Entries:
    """Joins entries that are already in order."""
    return Entries(
        np.concatenate([s.rows for s in shards]),
        np.concatenate([s.positions for s in shards]),
        np.concatenate([s.activations for s in shards]),
    )
