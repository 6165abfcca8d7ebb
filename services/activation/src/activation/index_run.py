"""The last merging task of the `latents` kind: what all shards have in common. Imports no torch."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from dragoman.artifacts import Artifact, PartInfo
from dragoman.kinds import Context, Part, Progress
from jaxtyping import Int64
from latent_cache.index import INDEX_NAME, LatentIndex, index_bytes
from latent_cache.silent_pool import SILENT_NAME, SilentPool, silent_bytes
from latent_cache.tables import POSITIONS_NAME, TOKENS_NAME, TOKENS_SCHEMA, position_edges
from latent_cache.token_rows import Split, TokenRows
from safetensors.numpy import load

from activation.core.position_counts import binned
from activation.draw_run import DRAWN_NAME
from activation.spec import LatentsSpec
from activation.tensor_stream import TensorStream

RARE_WINDOWS = 20
"""A latent with fewer activating windows than this in either split is rare, as for the explainer by default."""

_Arrays = dict[str, "np.ndarray[Any, Any]"]


def write_index(spec: LatentsSpec, context: Context) -> Iterator[Progress | Part]:
    """Joins what all shards counted; its metadata is what `combine` reports. Memory grows with d_sae only."""
    parts = context.parts[2]
    rows = TokenRows(context.inputs["tokens"])
    drawn = load(context.own.read(DRAWN_NAME))
    statistics = [p.name for p in parts if p.name.startswith("statistics-")]
    starts = [int(str(p.metadata["first_latent"])) for p in parts if p.name.startswith("entries-")]
    d_sae = max(int(str(p.metadata["end_latent"])) for p in parts if p.name.startswith("entries-"))
    positions = context.scratch / POSITIONS_NAME
    joined = yield from _join(context.own, statistics, positions, drawn["token_counts"], d_sae)
    pool = {name: joined.pop(name) for name in ("pool_counts", "pool_windows")}
    index = _index(joined, spec, rows.ctx_len, np.asarray([*starts, d_sae], np.int64))
    windows = np.minimum(index.window_count_train, index.window_count_test)
    alive = index.firing_count > 0
    metadata: dict[str, Any] = {
        "entry_count": int(index.offsets[-1]),
        "dead_count": int((~alive).sum()),
        "rare_count": int((alive & (windows < RARE_WINDOWS)).sum()),
    }
    yield Part(INDEX_NAME, data=index_bytes(index), row_count=d_sae, metadata=metadata)
    yield Part(POSITIONS_NAME, path=positions, row_count=d_sae)
    pools = _pools(drawn, pool, rows)
    yield Part(SILENT_NAME, data=silent_bytes(pools), row_count=len(drawn["places"]))
    yield _token_table(context, [p for p in parts if p.name.startswith("tokens-")])


def _join(
    own: Artifact, names: Sequence[str], path: Path, token_counts: Int64[np.ndarray, " ctx_len"], d_sae: int
) -> Generator[Progress, None, _Arrays]:
    """Reads the statistics of all shards; positions go to `path` shard by shard, the rest is returned joined."""
    edges, totals = position_edges(len(token_counts)), binned(token_counts)
    shapes = {
        "counts": ("I64", (d_sae, len(totals))),
        "edges": ("I64", (len(edges),)),
        "totals": ("I64", (len(totals),)),
    }
    columns: dict[str, list[np.ndarray[Any, Any]]] = {}
    with TensorStream(path, shapes) as stream:
        stream.append("edges", edges.astype("<i8").tobytes())
        stream.append("totals", totals.astype("<i8").tobytes())
        for done, name in enumerate(names, 1):
            tensors: _Arrays = load(own.read(name))
            stream.append("counts", tensors.pop("positions").astype("<i8").tobytes())
            for key, values in tensors.items():
                columns.setdefault(key, []).append(values)
            yield Progress(done, len(names), "shards")
    return {key: np.concatenate(values) for key, values in columns.items()}


def _index(
    joined: _Arrays, spec: LatentsSpec, ctx_len: int, shard_starts: Int64[np.ndarray, " shards_plus_1"]
) -> LatentIndex:
    return LatentIndex(
        ctx_len=ctx_len,
        window_length=spec.window_length,
        activation_dtype=spec.activation_dtype,
        offsets=_offsets(joined["firing_count"]),
        entry_byte_offsets=_offsets(joined.pop("entry_bytes")),
        example_byte_offsets=_offsets(joined.pop("example_bytes")),
        shard_starts=shard_starts,
        **joined,
    )


def _offsets(counts: "np.ndarray[Any, Any]") -> Int64[np.ndarray, " n_plus_1"]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _pools(drawn: Mapping[str, Any], pool: _Arrays, rows: TokenRows) -> Mapping[Split, SilentPool]:
    """Splits the pools: windows of train documents come first."""
    row_of, starts = np.divmod(drawn["places"], rows.ctx_len)
    train_count = int((row_of < rows.train_row_count).sum())
    numbers = pool["pool_windows"].astype(np.int64)
    latents = np.repeat(np.arange(len(pool["pool_counts"])), pool["pool_counts"])
    pools: dict[Split, SilentPool] = {}
    splits: tuple[tuple[Split, int, int], ...] = (("train", 0, train_count), ("test", train_count, len(row_of)))
    for split, first, end in splits:
        here = (numbers >= first) & (numbers < end)
        pools[split] = SilentPool(
            rows=row_of[first:end],
            starts=starts[first:end].astype(np.int32),
            documents=drawn["documents"][first:end],
            tokens=drawn["tokens"][first:end],
            firing_offsets=_offsets(np.bincount(latents[here], minlength=len(pool["pool_counts"]))),
            firing_windows=(numbers[here] - first).astype(np.uint16),
        )
    return pools


def _token_table(context: Context, parts: Sequence[PartInfo]) -> Part:
    path = context.scratch / TOKENS_NAME
    with pq.ParquetWriter(path, TOKENS_SCHEMA) as writer:
        for part in parts:
            file: Any = pq.ParquetFile(context.own.download(part.name))
            for group in range(file.num_row_groups):
                writer.write_table(file.read_row_group(group))
    return Part(TOKENS_NAME, path=path, row_count=sum(p.row_count for p in parts))
