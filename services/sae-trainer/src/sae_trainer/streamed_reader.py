"""Activations that a model gives while coders are trained on them: token rows in, nothing stored. Imports torch."""

from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from dragoman.artifacts import Artifact
from dragoman.kinds import Progress
from hooked_models.batches import batches, stored
from hooked_models.models import LoadedModel
from jaxtyping import Int32
from safetensors import safe_open

from sae_trainer.core.token_order import Piece
from sae_trainer.shared_documents import row_shards
from sae_trainer.window_filler import Rows


class Passage(NamedTuple):
    """Rows that go through the model together. They lie in one shard of the tokens."""

    part: str
    start: int
    stop: int
    """Rows start:stop of the part."""
    first_row: int
    """Number of the first one in the whole artifact."""
    token_count: int
    """Those that count: no BOS, no padding."""


class StreamedReader:
    """Runs passages through a model as they are asked for; a passage gives the same bits each time."""

    def __init__(
        self, tokens: Artifact, passages: Sequence[Passage], model: LoadedModel, hookpoints: Sequence[str], dtype: str
    ) -> None:
        """`hookpoints` are full names. `dtype`: in which the activations are given."""
        self._tokens, self._passages = tokens, passages
        self._model, self._hookpoints, self._dtype = model, hookpoints, dtype

    def chunks(self, piece: Piece) -> Iterator[Rows]:
        """Yields a passage, or the tokens of it that are asked for.

        Raises:
            UserTaskError: an activation is not finite, too large for the dtype, or no vector of one token.
        """
        at = self._passages[piece.shard]
        ids, documents = _read(self._tokens, at.part, at.start, at.stop)
        rows = at.stop - at.start
        for batch in batches(self._model, self._hookpoints, ids, documents, at.first_row, rows):
            asked = slice(piece.start, piece.stop)
            yield {name: stored(batch, name, self._dtype)[asked].cpu() for name in self._hookpoints}


def passages_of(tokens: Artifact, first: int, end: int, row_count: int) -> Generator[Progress, None, Sequence[Passage]]:
    """Returns the passages of at most `row_count` rows that the rows first:end are cut into; yields signs of life."""
    found: list[Passage] = []
    for part, shard_first, shard_rows in row_shards(tokens.manifest):
        low, high = max(first - shard_first, 0), min(end - shard_first, shard_rows)
        if low >= high:
            continue
        counts = np.cumsum([0, *(_read(tokens, part, low, high)[1] >= 0).sum(1)])
        for start in range(low, high, row_count):
            stop = min(start + row_count, high)
            count = int(counts[stop - low] - counts[start - low])
            found.append(Passage(part, start, stop, shard_first + start, count))
        yield Progress(shard_first + high - first, end - first, "rows", "counting tokens")
    return found


def _read(
    tokens: Artifact, part: str, start: int, stop: int
) -> tuple[Int32[np.ndarray, "rows pos"], Int32[np.ndarray, "rows pos"]]:
    """Returns the ids and the documents of rows."""
    with safe_open(tokens.download(part), framework="np") as file:
        return file.get_slice("tokens")[start:stop], file.get_slice("documents")[start:stop]
