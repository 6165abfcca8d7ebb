"""Shards of token rows: a file of two tensors, whose rows are read against checksums."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from dragoman.artifacts import Artifact
from dragoman.errors import DataLoss
from jaxtyping import Int32, Int64
from safetensors.numpy import save_file

from latent_cache.checksums import Checksums, crc32
from latent_cache.tensor_file import TensorFile

RowTensor = Literal["tokens", "documents"]

# 16 KiB: that much is read for one row too, and the sums of a shard fit into the first read of its header.
_BLOCK_POSITIONS = 1 << 12
# Above this share of a shard's blocks one verified download is cheaper than many ranged reads.
_DOWNLOAD_SHARE = 0.125


def write_token_shard(
    path: Path,
    tokens: Int32[np.ndarray, "row pos"],
    documents: Int32[np.ndarray, "row pos"],
    rows_per_block: int | None = None,
) -> None:
    """Writes a shard, with a checksum for each tensor of every `rows_per_block` rows; by default 4,096 positions."""
    step = rows_per_block or max(1, _BLOCK_POSITIONS // tokens.shape[1])
    tensors = {"tokens": np.ascontiguousarray(tokens), "documents": np.ascontiguousarray(documents)}
    blocks = range(0, len(tokens), step)
    sums = {n: np.asarray([crc32(t[low : low + step]) for low in blocks], np.uint32) for n, t in tensors.items()}
    save_file(tensors, path, Checksums(step, sums).metadata())


class TokenShard:
    """One shard of a tokens artifact. What it returns was checked."""

    def __init__(self, artifact: Artifact, name: str) -> None:
        self._artifact = artifact
        self._file = TensorFile(artifact, name)

    def rows(
        self, tensor: RowTensor, rows: Int64[np.ndarray, " n"], *, whole: bool = False
    ) -> Int32[np.ndarray, "n pos"]:
        """Returns rows of a tensor, given in rising order and counted from the shard's first.

        Args:
            tensor: Which of the two.
            rows: Few are read by ranges of blocks; many, and any of a shard without checksums (of an earlier
                release), from a verified copy of the whole shard.
            whole: Always from such a copy.

        Raises:
            DataLoss: the bytes are not those that were written.
        """
        found = None if whole else Checksums.read(self._file.metadata)
        if found is None or len(found.sums.get(tensor, ())) != -(-self._file.place(tensor).shape[0] // found.step):
            return self._copy(tensor, rows)
        blocks = np.unique(rows // found.step)
        if len(blocks) >= _DOWNLOAD_SHARE * len(found.sums[tensor]):
            return self._copy(tensor, rows)
        runs = np.split(blocks, np.flatnonzero(np.diff(blocks) > 1) + 1)
        pieces = [self._run(found, tensor, int(run[0]), int(run[-1]) + 1) for run in runs]
        held = np.searchsorted(blocks, rows // found.step)
        return np.concatenate(pieces)[held * found.step + rows % found.step]

    def _copy(self, tensor: RowTensor, rows: Int64[np.ndarray, " n"]) -> Int32[np.ndarray, "n pos"]:
        return self._file.map(tensor)[rows]

    def _run(self, found: Checksums, tensor: RowTensor, first: int, end: int) -> "np.ndarray[Any, Any]":
        """Returns the rows of blocks `first` to before `end`, by one ranged read."""
        step = found.step
        low, high = first * step, min(end * step, self._file.place(tensor).shape[0])
        rows = self._file.read_rows(tensor, low, high)
        for block in range(first, end):
            own = slice((block - first) * step, (block + 1 - first) * step)
            if crc32(rows[own]) != found.sums[tensor][block]:
                raise DataLoss(
                    f"{self._artifact.id}/{self._file.name}, {tensor} of rows {block * step} to "
                    f"{min((block + 1) * step, high)} of the file: the bytes do not have the checksum of its header. "
                    f"Restore the part, or `dragoman delete {self._artifact.id}` and submit again"
                )
        return rows
