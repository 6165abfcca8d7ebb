"""The Parquet tables of an explanations job."""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

EXPLANATIONS = "explanations.parquet"
WINDOWS = "windows.parquet"

EXPLANATIONS_SCHEMA = pa.schema(
    [
        ("latent", pa.int32()),
        ("rank", pa.int32()),
        ("firing_count", pa.int64()),
        ("firing_count_train", pa.int64()),
        ("firing_count_test", pa.int64()),
        ("density", pa.float64()),
        ("max_activation", pa.float32()),
        ("token_entropy", pa.float32()),
        ("explanation", pa.string()),
        ("outcome", pa.string()),
        ("reason", pa.string()),
        ("example_count", pa.int32()),
        ("example_documents", pa.list_(pa.int32())),
        ("source_latent", pa.int32()),
        ("prompt", pa.string()),
        ("reply", pa.string()),
        ("model", pa.string()),
        ("planned_tokens", pa.int64()),
        ("prompt_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
    ]
)

WINDOWS_SCHEMA = pa.schema(
    [
        ("latent", pa.int32()),
        ("window", pa.int32()),
        ("shown", pa.bool_()),
        ("row", pa.int32()),
        ("start", pa.int32()),
        ("document", pa.int32()),
        ("split", pa.string()),
        ("quantile", pa.int32()),
        ("max_activation", pa.float32()),
        ("tokens", pa.list_(pa.string())),
        ("activations", pa.list_(pa.float32())),
    ]
)

Rows = Sequence[Mapping[str, Any]]


def table_bytes(rows: Rows, schema: pa.Schema) -> bytes:
    """Returns a Parquet file; the same rows give the same bytes."""
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), sink, compression="zstd")
    return sink.getvalue()


def join(tables: Iterable[bytes], schema: pa.Schema, path: Path) -> int:
    """Joins tables in the order given, a row group each, one in memory at a time. Returns the number of rows."""
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for data in tables:
            table = pq.read_table(io.BytesIO(data))
            writer.write_table(table)
            count += table.num_rows
    return count
