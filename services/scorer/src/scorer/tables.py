"""The Parquet tables of a scores job."""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from dragoman.artifacts import Artifact
from latent_cache import LatentCache

from scorer.core.explained import COLUMNS, Explained
from scorer.core.judgement import EXAMPLES_SCHEMA
from scorer.spec import ScoresSpec

EXPLANATIONS = "explanations.parquet"
EXAMPLES = "examples.parquet"
LATENTS = "latents.parquet"
TYPES = "types.parquet"

Rows = Sequence[Mapping[str, Any]]


def read_explained(inputs: Mapping[str, Artifact], spec: ScoresSpec) -> Explained:
    """Returns the latents to score."""
    if "explanations" not in inputs:
        return Explained.unlabelled(LatentCache(inputs["latents"]).index, spec.latent_count)
    table = pq.read_table(io.BytesIO(inputs["explanations"].read(EXPLANATIONS)), columns=list(COLUMNS))
    return Explained.of(table.to_pylist(), spec.seed)


def table_bytes(rows: Rows, schema: pa.Schema) -> bytes:
    """Returns a Parquet file; the same rows give the same bytes."""
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), sink, compression="zstd")
    return sink.getvalue()


class ExamplesWriter:
    """Joins tables of judged examples into one, a row group each, with one of them in memory at a time."""

    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(path, EXAMPLES_SCHEMA, compression="zstd")
        self.row_count = 0

    def __enter__(self) -> "ExamplesWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.close()

    def add(self, data: bytes) -> Rows:
        """Appends a table; returns its rows."""
        table = pq.read_table(io.BytesIO(data))
        self._writer.write_table(table)
        self.row_count += table.num_rows
        rows: Rows = table.to_pylist()
        return rows


def by_latent(rows: Rows) -> Iterator[tuple[int, Rows]]:
    """Groups rows that are in order by latent."""
    groups: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["latent"], []).append(row)
    yield from groups.items()
