"""The counting tasks of the `latents` kind: which latents fire on the same tokens. Imports no torch."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from dragoman.artifacts import PartInfo
from dragoman.ids import derived_seed
from dragoman.kinds import Context, Part, Progress

from activation.core.neighbours import Firings, Neighbours, nearest
from activation.encoded_part import EncodedPart
from activation.spec import LatentsSpec

NEIGHBOURS_NAME = "neighbours.parquet"
_LATENTS_AT_ONCE = 256
_SCHEMA = pa.schema(
    [("latent", pa.int32()), ("rank", pa.int32()), ("neighbour", pa.int32()), ("jaccard", pa.float32()),
     ("both_count", pa.int64())]
)  # fmt: skip


def count(spec: LatentsSpec, context: Context) -> Iterator[Progress | Part]:
    """Counts, for a range of latents, over the sampled encoded parts; memory is 8 bytes a firing of the sample."""
    first, end = (int(str(context.task.payload[key])) for key in ("first", "end"))
    sampled = sample(context.parts[0], spec.neighbour_tokens, spec.seed)
    read: list[tuple[Any, Any]] = []
    for part in sampled:
        offsets, entries = EncodedPart(context.own, part.name).whole()
        read.append((offsets.copy(), entries[:, 0].copy()))
        yield Progress(len(read), len(sampled), "parts")
    firings = Firings.of(read)
    read.clear()
    path = context.scratch / NEIGHBOURS_NAME
    row_count = 0
    with pq.ParquetWriter(path, _SCHEMA) as writer:
        for low in range(first, end, _LATENTS_AT_ONCE):
            high = min(low + _LATENTS_AT_ONCE, end)
            table = _table(low, list(nearest(firings, low, high, spec.neighbours)))
            writer.write_table(table)
            row_count += table.num_rows
            yield Progress(high - first, end - first, "latents")
    metadata: dict[str, Any] = {"token_count": sum(map(_tokens, sampled))}
    yield Part(
        f"neighbours-{context.task.index:05d}.parquet", path=path, row_count=row_count, metadata=metadata, keep=False
    )


def sample(encoded: Sequence[PartInfo], token_count: int, seed: int) -> list[PartInfo]:
    """Returns whole tasks, drawn by seed until the next one would be too many; at least one, in the order of rows."""
    drawn = sorted(encoded, key=lambda part: derived_seed("neighbours", seed, part.task_index))
    chosen: list[PartInfo] = []
    total = 0
    for part in drawn:
        total += _tokens(part)
        if chosen and total > token_count:
            break
        chosen.append(part)
    return sorted(chosen, key=lambda part: part.task_index)


def _tokens(part: PartInfo) -> int:
    return int(str(part.metadata["train_token_count"])) + int(str(part.metadata["test_token_count"]))


def _table(first_latent: int, found: Sequence[Neighbours]) -> pa.Table:
    lengths = [len(n.latents) for n in found]
    latents = np.repeat(np.arange(first_latent, first_latent + len(found)), lengths)
    ranks = np.concatenate([np.arange(length) for length in lengths])
    columns: list[Any] = [
        pa.array(latents.astype(np.int32)),
        pa.array(ranks.astype(np.int32)),
        pa.array(np.concatenate([n.latents for n in found]).astype(np.int32)),
        pa.array(np.concatenate([n.jaccard for n in found])),
        pa.array(np.concatenate([n.both_count for n in found])),
    ]
    return pa.Table.from_arrays(columns, schema=_SCHEMA)


def join(spec: LatentsSpec, context: Context) -> Iterator[Progress | Part]:
    """Writes the tables of all ranges one after the other; its metadata is what `combine` reports."""
    parts = context.parts[4]
    path = context.scratch / NEIGHBOURS_NAME
    with pq.ParquetWriter(path, _SCHEMA) as writer:
        for done, part in enumerate(parts, 1):
            file: Any = pq.ParquetFile(context.own.download(part.name))
            for group in range(file.num_row_groups):
                writer.write_table(file.read_row_group(group))
            yield Progress(done, len(parts), "ranges")
    metadata: dict[str, Any] = {"neighbour_token_count": parts[0].metadata["token_count"]}
    yield Part(NEIGHBOURS_NAME, path=path, row_count=sum(p.row_count for p in parts), metadata=metadata)
