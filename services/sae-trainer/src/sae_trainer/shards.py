"""Activation shards read from disk and checked. Imports torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from dragoman.artifacts import Artifact, PartInfo
from dragoman.errors import DataLoss, UserTaskError
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sae_trainer.core.token_order import Piece
from sae_trainer.source import Source, token_count_of
from sae_trainer.window_filler import Rows

_CHUNK_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Tokens:
    """Neighbouring tokens of one shard."""

    activations: Float[Tensor, "n d_model"]
    """As stored: float32, bfloat16 or float16; all finite."""
    rows: Int[Tensor, " n"]
    """Token row that each comes from."""


def read_tokens(artifact: Artifact, part: PartInfo, start: int, stop: int, d_model: int) -> Tokens:
    """Reads tokens start:stop of a shard.

    Raises:
        DataLoss: the shard is not what the manifest says.
        UserTaskError: an activation is infinite or not a number.
    """
    path = artifact.download(part.name)
    expected = [token_count_of(part), d_model]
    try:
        with safe_open(path, framework="pt") as file:
            stored = file.get_slice("activations")
            if stored.get_shape() != expected:
                raise DataLoss(f"{artifact.id}: {part.name} is {stored.get_shape()}, its manifest says {expected}")
            tokens = Tokens(stored[start:stop], file.get_slice("rows")[start:stop])
    except SafetensorError as error:
        raise DataLoss(f"{artifact.id}: {part.name} ({Path(path).name}) cannot be read: {error}") from error
    _check_finite(tokens, artifact, part, start)
    return tokens


class ShardReader:
    """Reads pieces of a source, or of the two of a transcoder, in small chunks that are checked."""

    def __init__(self, artifact: Artifact, reads: Source, gives: Source) -> None:
        """`gives` is `reads` for an autoencoder.

        Raises:
            DataLoss: the shards of both do not hold as many tokens.
        """
        if reads.shard_sizes != gives.shard_sizes:
            raise DataLoss(
                f"{artifact.id}: the shards of {reads.hookpoint} hold {list(reads.shard_sizes)} tokens, those of "
                f"{gives.hookpoint} {list(gives.shard_sizes)}; they must be of the same tokens"
            )
        self._artifact = artifact
        self._sources = {source.hookpoint: source for source in (reads, gives)}
        self._compared: set[int] = set()

    def chunks(self, piece: Piece) -> Iterator[Rows]:
        """Yields neighbouring tokens, in order.

        Raises:
            DataLoss: a shard is not what the manifest says, or the two are not of the same tokens.
            UserTaskError: an activation is infinite or not a number.
        """
        if len(self._sources) > 1 and piece.shard not in self._compared:
            self._compare(piece.shard)
        rows = max(1, _CHUNK_BYTES // (4 * max(next(iter(self._sources.values())).d_model, 1)))
        for start in range(piece.start, piece.stop, rows):
            stop = min(start + rows, piece.stop)
            yield {name: self._read(source, piece.shard, start, stop) for name, source in self._sources.items()}

    def _read(self, source: Source, shard: int, start: int, stop: int) -> Tensor:
        return read_tokens(self._artifact, source.shards[shard], start, stop, source.d_model).activations

    def _compare(self, shard: int) -> None:
        names = [source.shards[shard].name for source in self._sources.values()]
        first, second = (_places(self._artifact, name) for name in names)
        if not all(torch.equal(a, b) for a, b in zip(first, second, strict=True)):
            raise DataLoss(f"{self._artifact.id}: {names[0]} and {names[1]} are of different tokens")
        self._compared.add(shard)


def _places(artifact: Artifact, name: str) -> tuple[Tensor, Tensor]:
    with safe_open(artifact.download(name), framework="pt") as file:
        return file.get_tensor("rows"), file.get_tensor("positions")


def _check_finite(tokens: Tokens, artifact: Artifact, part: PartInfo, start: int) -> None:
    wrong = ~torch.isfinite(tokens.activations).all(dim=1)
    if not bool(wrong.any()):
        return
    first = int(wrong.nonzero()[0, 0])
    raise UserTaskError(
        f"{artifact.id}: {part.name} holds activations that are not finite, {int(wrong.sum())} tokens of "
        f"{len(wrong)}, the first at token {start + first} (row {int(tokens.rows[first])}); the model's forward pass "
        "overflowed: make the activations with dtype float32 or bfloat16",
        reason="NON_FINITE_ACTIVATIONS",
    )
