"""Reads a latents artifact: its index, one latent's entries by one ranged read, its strongest windows."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq  # pyright: ignore[reportMissingTypeStubs]
from dragoman.artifacts import Artifact

from latent_cache.layout import (
    ENTRIES_TENSOR,
    INDEX_NAME,
    TOP_WINDOWS_NAME,
    Entries,
    LatentIndex,
    read_index,
    shard_name,
    unpack,
)
from latent_cache.tensor_file import TensorFile
from latent_cache.windows import Window


class LatentCache:
    """A latents artifact. Holds the index and the headers of the shards that were used, nothing else."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._index: LatentIndex | None = None
        self._shards: dict[int, TensorFile] = {}

    @property
    def id(self) -> str:
        """Id of the latents artifact."""
        return self._artifact.id

    @property
    def index(self) -> LatentIndex:
        """The index, read whole and verified on first use."""
        if self._index is None:
            self._index = read_index(self._artifact.read(INDEX_NAME))
        return self._index

    @property
    def row_ranges(self) -> list[tuple[int, int]]:
        """The rows that were run through the model, as `[first, end)` pairs."""
        rows: Any = self._artifact.manifest.statistics["rows"]
        return [(int(first), int(end)) for first, end in rows]

    def entries(self, latent: int) -> Entries:
        """Returns where a latent fires, in all splits. Raises IndexError when there is no such latent."""
        if not 0 <= latent < self.index.d_sae:
            raise IndexError(f"latent {latent} is not one of 0 to {self.index.d_sae - 1} of {self.id}")
        first, end = self.index.entry_range(latent)
        if first == end:
            return unpack(np.empty((0, 3), np.int32))
        return unpack(self._shard(self.index.shard_of(latent)).read_rows(ENTRIES_TENSOR, first, end))

    def top_windows(self, latents: Sequence[int]) -> Mapping[int, Sequence[Window]]:
        """Returns the strongest windows of each of these latents, strongest first; none for a dead latent."""
        path = self._artifact.download(TOP_WINDOWS_NAME)
        table = cast(Any, pq).read_table(path, filters=[("latent", "in", list(latents))])
        records = cast("list[dict[str, Any]]", table.to_pylist())
        found: dict[int, list[Window]] = {latent: [] for latent in latents}
        for record in sorted(records, key=_place):
            found[record["latent"]].append(_window(record))
        return found

    def _shard(self, shard: int) -> TensorFile:
        if shard not in self._shards:
            self._shards[shard] = TensorFile(self._artifact, shard_name(shard))
        return self._shards[shard]


def _place(record: Mapping[str, Any]) -> tuple[int, int]:
    return record["latent"], record["rank"]


def _window(record: Mapping[str, Any]) -> Window:
    return Window(
        row=record["row"],
        start=record["start"],
        document=record["document"],
        split=record["split"],
        tokens=np.asarray(record["tokens"], np.int32),
        activations=np.asarray(record["activations"], np.float32),
    )
