"""The merging tasks of the `latents` kind: from entries by row to entries by latent. Imports no torch."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from dragoman.kinds import Context, Part, Progress
from latent_cache.layout import ENTRIES_TENSOR, INDEX_NAME, TOP_WINDOWS_NAME, LatentIndex, index_bytes, shard_name
from latent_cache.tensor_file import TensorFile
from latent_cache.token_rows import TokenRows
from safetensors.numpy import load, save

from activation.core.entries import TaskEntries, latent_chunks, merge
from activation.core.latent_statistics import LatentStatistics, latent_statistics
from activation.core.top_windows import RARE_WINDOWS, TopWindows, top_windows
from activation.spec import LatentsSpec
from activation.tensor_stream import TensorStream

_CHUNK_ENTRIES = 1 << 21
_CHUNK_LATENTS = 1 << 12

_WINDOWS_SCHEMA = pa.schema(
    [
        ("latent", pa.int32()),
        ("rank", pa.int32()),
        ("row", pa.int32()),
        ("start", pa.int32()),
        ("document", pa.int32()),
        ("split", pa.string()),
        ("max_activation", pa.float32()),
        ("tokens", pa.list_(pa.int32())),
        ("activations", pa.list_(pa.float32())),
    ]
)


def invert(spec: LatentsSpec, context: Context) -> Iterator[Progress | Part]:
    """Merges the entries of a range of latents from every encoded part, some latents at a time."""
    first, end = (int(str(context.task.payload[key])) for key in ("first", "end"))
    rows = TokenRows(context.inputs["tokens"])
    files = [TensorFile(context.own, part.name) for part in context.parts[0]]
    firsts = [int(str(part.metadata["first_row"])) for part in context.parts[0]]
    offsets = np.stack([f.read_rows("offsets", first, end + 1) for f in files])
    counts = np.diff(offsets, axis=1).sum(0)
    total, done = int(counts.sum()), 0
    path, windows_path = context.scratch / "entries", context.scratch / "windows"
    statistics: list[LatentStatistics] = []
    window_counts: list[Any] = [np.empty((0, 2), np.int64)]
    with (
        TensorStream(path, {ENTRIES_TENSOR: ("I32", (total, 3))}) as stream,
        pq.ParquetWriter(windows_path, _WINDOWS_SCHEMA) as writer,
    ):
        for low, high in latent_chunks(counts, _CHUNK_ENTRIES, _CHUNK_LATENTS):
            merged = _read_merged(files, firsts, offsets[:, low : high + 1], rows.ctx_len)
            stream.append(ENTRIES_TENSOR, merged.entries[:, :3].tobytes())
            statistics.append(latent_statistics(merged, rows.train_row_count))
            top, counted = top_windows(merged, spec.top_windows, spec.window_length, rows.train_row_count)
            window_counts.append(counted)
            if len(top):
                writer.write_table(_windows_table(top, first + low, rows))
            done += len(merged.entries)
            yield Progress(done, total, "entries")
    shard = context.task.index
    yield Part(shard_name(shard), path=path, row_count=total, metadata={"first_latent": first, "end_latent": end})
    tensors = {**LatentStatistics.join(statistics).arrays(), "window_counts": np.concatenate(window_counts)}
    yield Part(f"statistics-{shard:05d}.safetensors", data=save(tensors), keep=False)
    yield Part(f"windows-{shard:05d}.parquet", path=windows_path, keep=False)


def _read_merged(
    files: list[TensorFile], firsts: Sequence[int], offsets: "np.ndarray[Any, Any]", ctx_len: int
) -> TaskEntries:
    parts: list[TaskEntries] = []
    for file, first_row, of_part in zip(files, firsts, offsets, strict=True):
        entries = file.read_rows("entries", int(of_part[0]), int(of_part[-1])).copy()
        rows, positions = np.divmod(entries[:, 0], ctx_len)
        columns = [rows + first_row, positions, entries[:, 1], entries[:, 2], entries[:, 4]]
        parts.append(TaskEntries(of_part, np.stack(columns, 1).astype(np.int32)))
    return merge(parts)


def _windows_table(top: TopWindows, first_latent: int, rows: TokenRows) -> pa.Table:
    unique, places = np.unique(top.rows, return_inverse=True)
    within = top.starts[:, None] + np.arange(top.activations.shape[1])
    places = places.reshape(-1)
    tokens = rows.tokens(unique)[places[:, None], within]
    documents = rows.documents(unique)[places, top.starts]
    split = np.where(top.rows < rows.train_row_count, "train", "test")
    length = within.shape[1]
    bounds = pa.array(np.arange(0, (len(top) + 1) * length, length, dtype=np.int32))
    columns: list[Any] = [
        pa.array((top.latents + first_latent).astype(np.int32)),
        pa.array(top.ranks),
        pa.array(top.rows),
        pa.array(top.starts),
        pa.array(documents),
        pa.array(split.tolist(), pa.string()),
        pa.array(top.peaks),
        pa.ListArray.from_arrays(bounds, pa.array(tokens.reshape(-1))),
        pa.ListArray.from_arrays(bounds, pa.array(top.activations.reshape(-1))),
    ]
    return pa.Table.from_arrays(columns, schema=_WINDOWS_SCHEMA)


def write_index(spec: LatentsSpec, context: Context) -> Iterator[Progress | Part]:
    """Joins the statistics and windows of all shards; its metadata is what `combine` reports."""
    parts = context.parts[1]
    shards = [p for p in parts if p.keep]
    tensors = [load(context.own.read(p.name)) for p in parts if p.name.startswith("statistics-")]
    window_counts = np.concatenate([t.pop("window_counts") for t in tensors])
    joined = LatentStatistics.join([LatentStatistics(**t) for t in tensors])
    offsets = np.concatenate([[0], np.cumsum(joined.firing_count)]).astype(np.int64)
    starts = [int(str(p.metadata["first_latent"])) for p in shards] + [len(joined.firing_count)]
    index = LatentIndex(offsets, np.asarray(starts, np.int64), **joined.arrays())
    dead = joined.firing_count == 0
    metadata: dict[str, Any] = {
        "entry_count": int(offsets[-1]),
        "dead_count": int(dead.sum()),
        "rare_count": int((~dead & (window_counts.min(1) < RARE_WINDOWS)).sum()),
    }
    yield Part(INDEX_NAME, data=index_bytes(index), row_count=len(joined.firing_count), metadata=metadata)
    windows_path = context.scratch / TOP_WINDOWS_NAME
    row_count = 0
    names = [p.name for p in parts if p.name.startswith("windows-")]
    with pq.ParquetWriter(windows_path, _WINDOWS_SCHEMA) as writer:
        for done, name in enumerate(names, 1):
            row_count += _copy_windows(context.own.download(name), writer)
            yield Progress(done, len(names), "shards")
    yield Part(TOP_WINDOWS_NAME, path=windows_path, row_count=row_count)


def _copy_windows(path: Path, writer: Any) -> int:
    file: Any = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        writer.write_table(file.read_row_group(group))
    return int(file.metadata.num_rows)
