"""Reads the token rows of a tokens artifact."""

from typing import Any, Literal

import numpy as np
from dragoman.artifacts import Artifact
from jaxtyping import Int32, Int64
from tokenizers import Tokenizer

from latent_cache.token_policy import TokenPolicy, token_policy
from latent_cache.token_shard import RowTensor, TokenShard

Split = Literal["train", "test"]


class TokenRows:
    """A tokens artifact: rows of `ctx_len` token ids and the document of each. Train rows come first."""

    def __init__(self, artifact: Artifact, *, whole_shards: bool = False) -> None:
        """Opens an artifact.

        Args:
            artifact: Of the kind `tokens`.
            whole_shards: Read whole shards only: for who reads every row, some at a time, and should not ask the
                store as often.

        Raises:
            FailedPrecondition: tokens of a policy that is not known here.
        """
        self._artifact = artifact
        self._whole = whole_shards
        self.policy: TokenPolicy = token_policy(artifact.manifest.statistics, artifact.id)
        parts = [p for p in artifact.manifest.parts if p.name.startswith("rows-")]
        parts.sort(key=lambda p: int(str(p.metadata["first_row"])))
        self._shards = [TokenShard(artifact, p.name) for p in parts]
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
            DataLoss: the bytes of a shard are not those that were written.
        """
        return self._gather("tokens", rows)

    def documents(self, rows: Int64[np.ndarray, " n"]) -> Int32[np.ndarray, "n ctx_len"]:
        """Returns the document of each token of rows; -1 at BOS and padding. Raises as `tokens` does."""
        return self._gather("documents", rows)

    def tokenizer(self) -> Tokenizer:
        """Returns the tokenizer that made the rows."""
        if self._tokenizer is None:
            self._tokenizer = Tokenizer.from_str(self._artifact.read("tokenizer.json").decode())
        return self._tokenizer

    def _statistic(self, name: str) -> int:
        value: Any = self._artifact.manifest.statistics[name]
        return int(value)

    def _gather(self, tensor: RowTensor, rows: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        wanted, inverse = np.unique(np.asarray(rows, np.int64), return_inverse=True)
        if len(wanted) and (wanted[0] < 0 or wanted[-1] >= self.row_count):
            raise IndexError(f"{self.id} has rows 0 to {self.row_count - 1}; got {wanted[0]} to {wanted[-1]}")
        found = np.empty((len(wanted), self.ctx_len), np.int32)
        shards = np.searchsorted(self._firsts, wanted, side="right") - 1
        for shard in map(int, np.unique(shards)):
            here = shards == shard
            found[here] = self._shards[shard].rows(tensor, wanted[here] - self._firsts[shard], whole=self._whole)
        return found[inverse.reshape(-1)]
