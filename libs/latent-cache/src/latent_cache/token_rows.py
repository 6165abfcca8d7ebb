"""Reads the token rows of a tokens artifact."""

from typing import Any, Literal

import numpy as np
from dragoman.artifacts import Artifact
from jaxtyping import Int32, Int64
from tokenizers import Tokenizer

from latent_cache.tensor_file import TensorFile
from latent_cache.token_policy import TokenPolicy, token_policy

Split = Literal["train", "test"]

# Above this share of a shard's rows one verified download is cheaper than many ranged reads.
_DOWNLOAD_SHARE = 0.125
# Rows this close together are read in one request, with what lies between them.
_GAP_ROWS = 16


class TokenRows:
    """A tokens artifact: rows of `ctx_len` token ids and the document of each. Train rows come first."""

    def __init__(self, artifact: Artifact, *, verified: bool = False) -> None:
        """Opens an artifact.

        Args:
            artifact: Of the kind `tokens`.
            verified: Read whole shards only, which are checked against their sums: for who computes with every row,
                and must not take damaged ones for text. Ranged reads of few rows cannot be checked.

        Raises:
            FailedPrecondition: tokens of a policy that is not known here.
        """
        self._artifact = artifact
        self._verified = verified
        self.policy: TokenPolicy = token_policy(artifact.manifest.statistics, artifact.id)
        parts = [p for p in artifact.manifest.parts if p.name.startswith("rows-")]
        parts.sort(key=lambda p: int(str(p.metadata["first_row"])))
        self._files = [TensorFile(artifact, p.name) for p in parts]
        self._firsts = np.asarray([int(str(p.metadata["first_row"])) for p in parts], np.int64)
        self._tokenizer: Tokenizer | None = None

    @property
    def id(self) -> str:
        """Id of the tokens artifact."""
        return self._artifact.id

    @property
    def ctx_len(self) -> int:
        """Tokens in a row, BOS and padding included."""
        return self._statistic("ctx_len")

    @property
    def row_count(self) -> int:
        """Rows of both splits."""
        return self._statistic("row_count")

    @property
    def train_row_count(self) -> int:
        """Rows of the train split; the first test row has this index."""
        return self._statistic("train_row_count")

    def split(self, row: int) -> Split:
        """The split of a row, and so of every document in it."""
        return "train" if row < self.train_row_count else "test"

    def tokens(self, rows: Int64[np.ndarray, " n"]) -> Int32[np.ndarray, "n ctx_len"]:
        """Returns the token ids of rows, in the order asked for.

        Raises:
            IndexError: there is no such row.
            DataLoss: a shard is not what the manifest promises.
        """
        return self._gather("tokens", rows)

    def documents(self, rows: Int64[np.ndarray, " n"]) -> Int32[np.ndarray, "n ctx_len"]:
        """Returns the document of each token of rows; -1 at BOS and padding."""
        return self._gather("documents", rows)

    def tokenizer(self) -> Tokenizer:
        """Returns the tokenizer that made the rows."""
        if self._tokenizer is None:
            self._tokenizer = Tokenizer.from_str(self._artifact.read("tokenizer.json").decode())
        return self._tokenizer

    def _statistic(self, name: str) -> int:
        value: Any = self._artifact.manifest.statistics[name]
        return int(value)

    def _gather(self, tensor: str, rows: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        wanted, inverse = np.unique(np.asarray(rows, np.int64), return_inverse=True)
        if len(wanted) and (wanted[0] < 0 or wanted[-1] >= self.row_count):
            raise IndexError(f"{self.id} has rows 0 to {self.row_count - 1}; got {wanted[0]} to {wanted[-1]}")
        found = np.empty((len(wanted), self.ctx_len), np.int32)
        shards = np.searchsorted(self._firsts, wanted, side="right") - 1
        for shard in map(int, np.unique(shards)):
            here = shards == shard
            found[here] = self._from_shard(self._files[shard], tensor, wanted[here] - self._firsts[shard])
        return found[inverse.reshape(-1)]

    def _from_shard(self, file: TensorFile, tensor: str, rows: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        if self._verified or len(rows) >= _DOWNLOAD_SHARE * file.place(tensor).shape[0]:
            return file.map(tensor)[rows]
        cuts = np.flatnonzero(np.diff(rows) > _GAP_ROWS) + 1
        runs = np.split(rows, cuts)
        return np.concatenate([file.read_rows(tensor, int(r[0]), int(r[-1]) + 1)[r - r[0]] for r in runs])
