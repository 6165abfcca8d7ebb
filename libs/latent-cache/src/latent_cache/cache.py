"""Reads a latents artifact: the index once, then a latent's entries or its windows by one ranged read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import pyarrow.parquet as pq  # pyright: ignore[reportMissingTypeStubs]
from dragoman.artifacts import Artifact
from dragoman.errors import DataLoss, NotFound
from jaxtyping import Int64
from safetensors import SafetensorError

from latent_cache.entry_codec import Entries, decode_entries
from latent_cache.example_record import ExampleRecord, decode_examples, empty_record
from latent_cache.index import INDEX_NAME, LatentIndex, read_index
from latent_cache.shard_file import CONTENT_START, entries_name, examples_name
from latent_cache.silent_pool import SILENT_NAME, SilentPool, read_silent
from latent_cache.tables import NEIGHBOURS_NAME, POSITIONS_NAME, TOKENS_NAME, Positions, read_positions
from latent_cache.token_rows import Split

# What lies between two latents is read with them when it is less than what a request costs.
_GAP_BYTES = 64 << 10
_MOST_BYTES = 16 << 20

_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class _Span:
    """The bytes of one latent in a shard, counted from the start of the file."""

    latent: int
    shard: int
    first: int
    end: int


class LatentCache:
    """A latents artifact. Holds the index and, once used, the silent pools; nothing that grows with latents read."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._index: LatentIndex | None = None
        self._silent: Mapping[Split, SilentPool] | None = None
        self._positions: Positions | None = None

    @property
    def id(self) -> str:
        """Id of the latents artifact."""
        return self._artifact.id

    @property
    def index(self) -> LatentIndex:
        """The index, read whole and verified on first use.

        Raises FailedPrecondition for an artifact of another layout, DataLoss for a damaged one.
        """
        if self._index is None:
            self._index = read_index(self._artifact.read(INDEX_NAME), self.id)
        return self._index

    @property
    def row_ranges(self) -> list[tuple[int, int]]:
        """The rows that were run through the model, as `[first, end)` pairs."""
        rows: Any = self._artifact.manifest.statistics["rows"]
        return [(int(first), int(end)) for first, end in rows]

    def entries(self, latent: int) -> Entries:
        """Returns where a latent fires, in all splits, by one ranged read; none for a dead latent.

        Raises IndexError when there is no such latent, DataLoss when its bytes are not what the index promises.
        """
        span = self._spans([latent], entries_name, self.index.entry_byte_offsets)[0]
        data = self._read([span], entries_name)[0]
        index = self.index
        count, maximum = int(index.firing_count[latent]), float(index.max_activation[latent])
        places, activations = self._decoded(
            span, entries_name, lambda: decode_entries(data, count, maximum, index.activation_dtype)
        )
        rows, positions = np.divmod(places, index.ctx_len)
        return Entries(rows.astype(np.int32), positions.astype(np.int32), activations)

    def examples(self, latent: int) -> ExampleRecord:
        """Returns a latent's kept windows by one ranged read; none for a dead latent. Raises as `entries`."""
        return self.examples_of([latent])[latent]

    def examples_of(self, latents: Sequence[int]) -> Mapping[int, ExampleRecord]:
        """Returns the kept windows of latents; those that lie close together come by one request."""
        spans = self._spans(sorted(set(latents)), examples_name, self.index.example_byte_offsets)
        found: dict[int, ExampleRecord] = {}
        for group in _groups(spans):
            for span, data in zip(group, self._read(group, examples_name), strict=True):
                found[span.latent] = self._record(span, data)
        return found

    def silent(self, split: Split) -> SilentPool:
        """Returns the pool of silent windows of a split; both pools are read whole and verified on first use."""
        if self._silent is None:
            pools = self._whole(SILENT_NAME, read_silent)
            if any(len(pool.firing_offsets) != self.index.d_sae + 1 for pool in pools.values()):
                raise DataLoss(f"{self.id}/{SILENT_NAME} is not of {self.index.d_sae} latents")
            self._silent = pools
        return self._silent[split]

    def positions(self) -> Positions:
        """Returns how often each latent fires by position in the row; read whole and verified on first use."""
        if self._positions is None:
            self._positions = self._whole(POSITIONS_NAME, read_positions)
        return self._positions

    def token_table(self, latents: Sequence[int]) -> list[dict[str, Any]]:
        """Returns the rows of `tokens.parquet` of latents, in the order of the file."""
        return self._table(TOKENS_NAME, latents)

    def neighbours(self, latents: Sequence[int]) -> list[dict[str, Any]]:
        """Returns the rows of `neighbours.parquet`. Raises NotFound when the artifact was made without neighbours."""
        return self._table(NEIGHBOURS_NAME, latents)

    def _table(self, name: str, latents: Sequence[int]) -> list[dict[str, Any]]:
        path = self._artifact.download(name)
        table = cast(Any, pq).read_table(path, filters=[("latent", "in", list(latents))])
        return cast("list[dict[str, Any]]", table.to_pylist())

    def _whole(self, name: str, read: Callable[[bytes], _Read]) -> _Read:
        try:
            return read(self._artifact.read(name))
        except (SafetensorError, KeyError, ValueError, IndexError) as error:
            raise DataLoss(f"{self.id}/{name} cannot be read: {error}") from error

    def _spans(
        self, latents: Sequence[int], name: Callable[[int], str], offsets: Int64[np.ndarray, " d_sae_plus_1"]
    ) -> list[_Span]:
        index = self.index
        spans: list[_Span] = []
        for latent in latents:
            if not 0 <= latent < index.d_sae:
                raise IndexError(f"latent {latent} is not one of 0 to {index.d_sae - 1} of {self.id}")
            shard = index.shard_of(latent)
            low, high = (int(offsets[index.shard_starts[s]]) for s in (shard, shard + 1))
            self._check_size(name(shard), CONTENT_START + high - low)
            first, end = (CONTENT_START + int(offsets[j]) - low for j in (latent, latent + 1))
            spans.append(_Span(latent, shard, first, end))
        return spans

    def _check_size(self, name: str, size: int) -> None:
        try:
            found = self._artifact.manifest.part(name).size_bytes
        except KeyError as error:
            raise DataLoss(f"{self.id} has no part {name}, which its index names") from error
        if found != size:
            raise DataLoss(f"{self.id}/{name} has {found} bytes; its index promises {size}")

    def _read(self, spans: Sequence[_Span], name: Callable[[int], str]) -> list[bytes]:
        """Reads spans of one shard by one request, without any where they are empty."""
        first, end = spans[0].first, spans[-1].end
        if first == end:
            return [b"" for _ in spans]
        part = name(spans[0].shard)
        try:
            data = self._artifact.read_range(part, first, end - first)
        except (DataLoss, NotFound) as error:
            named = f"latent {spans[0].latent}" + (f" to {spans[-1].latent}" if len(spans) > 1 else "")
            raise DataLoss(f"{self.id}/{part}, {named}: {error.message}") from error
        return [data[span.first - first : span.end - first] for span in spans]

    def _record(self, span: _Span, data: bytes) -> ExampleRecord:
        index = self.index
        if not data:
            return empty_record(span.latent, index.window_length)
        record = self._decoded(span, examples_name, lambda: decode_examples(data))
        if record.latent != span.latent or record.window_length != index.window_length:
            raise DataLoss(
                f"{self.id}/{examples_name(span.shard)}, latent {span.latent}: found the record of latent "
                f"{record.latent} with windows of {record.window_length} tokens"
            )
        return record

    def _decoded(self, span: _Span, name: Callable[[int], str], decode: Callable[[], _Read]) -> _Read:
        try:
            return decode()
        except ValueError as error:
            raise DataLoss(
                f"{self.id}/{name(span.shard)}, latent {span.latent}: {error}; the stored part is damaged, "
                "make the artifact again"
            ) from error


def _groups(spans: Sequence[_Span]) -> list[list[_Span]]:
    """Groups rising spans that lie close together in one shard."""
    groups: list[list[_Span]] = []
    for span in spans:
        last = groups[-1][-1] if groups else None
        if (
            last is not None
            and last.shard == span.shard
            and span.first - last.end <= _GAP_BYTES
            and span.end - groups[-1][0].first <= _MOST_BYTES
        ):
            groups[-1].append(span)
        else:
            groups.append([span])
    return groups
