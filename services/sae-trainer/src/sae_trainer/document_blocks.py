"""Which tokens of an evaluation belong together: those of one document, or of some neighbouring ones."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from dragoman.artifacts import Artifact, PartInfo
from dragoman.errors import NotFound
from jaxtyping import Int
from safetensors import safe_open

from sae_trainer.shared_documents import ArtifactOf, row_shards

LARGEST_BLOCK_COUNT = 1024
"""Documents or rows are resampled in about so many blocks, which bounds memory and leaves intervals what they are."""
Unit = Literal["documents", "rows"]


class Blocks:
    """Gives each token the block that an interval resamples it in.

    Tokens of one document are not independent, so blocks are documents, numbered in the order of the text; token rows
    where the tokens artifact is not in the store any more.
    """

    def __init__(self, spec: Mapping[str, Any], statistics: Mapping[str, Any], artifact_of: ArtifactOf) -> None:
        """Takes spec and statistics of the activations; opens the tokens that they were made from."""
        self._rows_per_block = _share(int(statistics["row_count"]))
        try:
            self._tokens = artifact_of(str(spec["tokens_id"]))
        except NotFound:
            self._tokens = None
            return
        counted: Mapping[str, Any] = self._tokens.manifest.statistics
        # Documents of a split have neighbouring numbers.
        count = counted.get(f"{spec.get('split')}_document_count", counted["document_count"])
        self._documents_per_block = _share(int(count))
        self._shards = row_shards(self._tokens.manifest)
        self._held: tuple[str, np.ndarray] = ("", np.empty((0, 0), np.int32))

    @property
    def unit(self) -> Unit:
        """What a block is made of."""
        return "rows" if self._tokens is None else "documents"

    def of(self, activations: Artifact, shard: PartInfo) -> Int[np.ndarray, " n"]:
        """Returns the block of each token of a shard."""
        with safe_open(activations.download(shard.name), framework="np") as file:
            rows = file.get_tensor("rows").astype(np.int64)
            if self._tokens is None:
                return rows // self._rows_per_block
            documents = self._documents(self._tokens, rows, file.get_tensor("positions"))
        return documents // self._documents_per_block

    def _documents(self, tokens: Artifact, rows: np.ndarray, positions: np.ndarray) -> np.ndarray:
        found = np.full(len(rows), -1, np.int64)
        for name, first, count in self._shards:
            here = (rows >= first) & (rows < first + count)
            if here.any():
                if self._held[0] != name:
                    with safe_open(tokens.download(name), framework="np") as file:
                        self._held = name, file.get_tensor("documents")
                found[here] = self._held[1][rows[here] - first, positions[here]]
        return found


def _share(count: int) -> int:
    return max(1, -(-count // LARGEST_BLOCK_COUNT))
