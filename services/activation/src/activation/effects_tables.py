"""The Parquet tables of an effects job."""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_MOVERS = [
    (f"{direction}_{name}", pa.list_(value))
    for direction in ("raised", "lowered")
    for name, value in (
        ("tokens", pa.int32()),
        ("texts", pa.string()),
        ("log_prob_changes", pa.float32()),
        ("logit_changes", pa.float32()),
    )
]

EFFECTS = pa.schema(
    [
        ("latent", pa.int32()),
        ("rank", pa.int32()),
        ("intervention", pa.string()),
        ("kl_target", pa.float64()),
        ("strength", pa.float64()),
        ("strength_multiple", pa.float64()),
        ("kl", pa.float64()),
        ("converged", pa.bool_()),
        ("prompt_count", pa.int32()),
        ("kl_by_prompt", pa.list_(pa.float32())),
        *_MOVERS,
    ]
)

PROMPTS = pa.schema(
    [
        ("latent", pa.int32()),
        ("prompt", pa.int32()),
        ("row", pa.int32()),
        ("start", pa.int32()),
        ("tokens", pa.list_(pa.int32())),
        ("text", pa.string()),
        ("activation", pa.float32()),
        ("cached_activation", pa.float32()),
    ]
)

CONTINUATIONS = pa.schema(
    [
        ("latent", pa.int32()),
        ("prompt", pa.int32()),
        ("arm", pa.string()),
        ("kl_target", pa.float64()),
        ("strength", pa.float64()),
        ("tokens", pa.list_(pa.int32())),
        ("text", pa.string()),
    ]
)

LOGITS = pa.schema(
    [
        ("latent", pa.int32()),
        ("rank", pa.int32()),
        ("firing_count", pa.int64()),
        ("max_activation", pa.float32()),
        ("outcome", pa.string()),
        ("prompt_count", pa.int32()),
        *[
            (f"{end}_{name}", pa.list_(value))
            for end in ("top", "bottom")
            for name, value in (("tokens", pa.int32()), ("texts", pa.string()), ("logits", pa.float32()))
        ],
        ("reason", pa.string()),
    ]
)

TABLES: Mapping[str, pa.Schema] = {
    "effects": EFFECTS,
    "prompts": PROMPTS,
    "continuations": CONTINUATIONS,
    "logits": LOGITS,
}

FILES: Mapping[str, str] = {
    "effects": "effects.parquet",
    "prompts": "prompts.parquet",
    "continuations": "continuations.parquet",
    "logits": "logits.parquet",
}
"""Parts of the artifact, by table."""


def table_bytes(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> bytes:
    """Returns a Parquet file; the same rows give the same bytes."""
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), sink, compression="zstd")
    return sink.getvalue()


def join(tables: Iterable[bytes], schema: pa.Schema, path: Path) -> int:
    """Joins tables in the order given, one in memory at a time. Returns the number of rows."""
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for data in tables:
            table = pq.read_table(io.BytesIO(data))
            writer.write_table(table)
            count += table.num_rows
    return count
