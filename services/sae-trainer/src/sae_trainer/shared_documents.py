"""Which documents a coder was trained on, and which of them an evaluation reads again. Imports no torch."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from dragoman.artifacts import Artifact, Manifest
from safetensors.numpy import load_file

ArtifactOf = Callable[[str], Artifact]
"""Id to committed artifact."""


@dataclass(frozen=True, slots=True)
class TokenSet:
    """The token rows behind activations: the first `row_count` of a split."""

    tokens_id: str
    split: str
    row_count: int

    def overlaps_surely(self, other: "TokenSet") -> bool:
        """True when both start at the same row: `all` and `train` at the first, `test` after train's last."""
        return self.tokens_id == other.tokens_id and (self.split == "test") == (other.split == "test")

    def disjoint_surely(self, other: "TokenSet") -> bool:
        """True when the sets are the two splits of the same tokens; a document is in one split only."""
        return self.tokens_id == other.tokens_id and {self.split, other.split} == {"train", "test"}


def token_set(spec: Mapping[str, Any], statistics: Mapping[str, Any]) -> TokenSet:
    """Returns the token rows of an activations artifact; a coder's statistics hold both of what is asked for."""
    return TokenSet(str(spec["tokens_id"]), str(spec.get("split") or "all"), int(statistics["row_count"]))


def shared_document_count(seen: TokenSet, held_out: TokenSet, artifact_of: ArtifactOf) -> int:
    """Returns how many documents are in both sets.

    Documents of one tokens artifact are compared by number; of two, by name and length, since nothing else is stored.
    """
    if seen.disjoint_surely(held_out):
        return 0
    numbers = [_documents(token_rows, artifact_of(token_rows.tokens_id)) for token_rows in (seen, held_out)]
    if seen.tokens_id == held_out.tokens_id:
        return len(numbers[0] & numbers[1])
    names = [_names(artifact_of(s.tokens_id), found) for s, found in zip((seen, held_out), numbers, strict=True)]
    return len(names[0] & names[1])


def row_shards(manifest: Manifest) -> list[tuple[str, int, int]]:
    """Returns name, first row and number of rows of each shard of a tokens artifact."""
    return [
        (part.name, int(str(part.metadata["first_row"])), part.row_count)
        for part in manifest.parts
        if part.name.startswith("rows-")
    ]


def _documents(token_rows: TokenSet, tokens: Artifact) -> set[int]:
    first = int(str(tokens.manifest.statistics["train_row_count"])) if token_rows.split == "test" else 0
    end = first + token_rows.row_count
    found: set[int] = set()
    for name, shard_first, row_count in row_shards(tokens.manifest):
        low, high = max(first - shard_first, 0), min(end - shard_first, row_count)
        if low < high:
            found.update(np.unique(load_file(tokens.download(name))["documents"][low:high]).tolist())
    return found - {-1}


def _names(tokens: Artifact, numbers: set[int]) -> set[tuple[str, int]]:
    table = pq.read_table(io.BytesIO(tokens.read("documents.parquet")), columns=["document", "name", "char_count"])
    return {(row["name"], row["char_count"]) for row in table.to_pylist() if row["document"] in numbers}
