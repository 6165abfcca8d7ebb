"""Packs the tokens of documents into rows of one length, without padding but at the end."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

_ROWS_AT_ONCE = 256
_MAX_PIECE = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Token rows, and the document of each token: -1 at BOS and padding."""

    tokens: Int32[np.ndarray, "rows ctx_len"]
    documents: Int32[np.ndarray, "rows ctx_len"]

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, slots=True)
class RowShape:
    """How a row is built: `ctx_len` tokens, the first of them BOS unless `bos_id` is None."""

    ctx_len: int
    bos_id: int | None
    pad_id: int

    @property
    def payload(self) -> int:
        """Tokens of documents in a full row."""
        return self.ctx_len - (self.bos_id is not None)


def pack_rows(documents: Iterable[tuple[int, Int32[np.ndarray, " n"]]], shape: RowShape) -> Iterator[Rows]:
    """Packs (document index, tokens) in the order given; a document that does not fit goes on in the next row.

    The same index may come several times in a row. Only the last row is padded. Memory does not grow with the input.
    """
    tokens: list[np.ndarray] = []
    owners: list[np.ndarray] = []
    held = 0
    for document, all_tokens in documents:
        for at in range(0, len(all_tokens), _MAX_PIECE):
            piece = all_tokens[at : at + _MAX_PIECE]
            tokens.append(piece)
            owners.append(np.full(len(piece), document, np.int32))
            held += len(piece)
            if held >= _ROWS_AT_ONCE * shape.payload:
                full = held // shape.payload * shape.payload
                joined, joined_owners = np.concatenate(tokens), np.concatenate(owners)
                yield _rows(joined[:full], joined_owners[:full], shape)
                tokens, owners, held = [joined[full:]], [joined_owners[full:]], held - full
    if held:
        yield _rows(np.concatenate(tokens), np.concatenate(owners), shape)


def _rows(tokens: Int32[np.ndarray, " n"], owners: Int32[np.ndarray, " n"], shape: RowShape) -> Rows:
    count = -(-len(tokens) // shape.payload)
    padding = count * shape.payload - len(tokens)
    body = np.concatenate([tokens, np.full(padding, shape.pad_id, np.int32)]).reshape(count, shape.payload)
    body_owners = np.concatenate([owners, np.full(padding, -1, np.int32)]).reshape(count, shape.payload)
    if shape.bos_id is None:
        return Rows(body.astype(np.int32), body_owners)
    bos = np.full((count, 1), shape.bos_id, np.int32)
    return Rows(np.hstack([bos, body]).astype(np.int32), np.hstack([np.full((count, 1), -1, np.int32), body_owners]))


def equal_blocks(pieces: Iterable[Rows], rows_per_block: int) -> Iterator[Rows]:
    """Regroups rows into blocks of one height; only the last may be lower."""
    held: list[Rows] = []
    count = 0
    for piece in pieces:
        held.append(piece)
        count += len(piece)
        while count >= rows_per_block:
            joined = _join(held)
            yield Rows(joined.tokens[:rows_per_block], joined.documents[:rows_per_block])
            held = [Rows(joined.tokens[rows_per_block:], joined.documents[rows_per_block:])]
            count -= rows_per_block
    if count:
        yield _join(held)


def _join(pieces: list[Rows]) -> Rows:
    return Rows(np.concatenate([p.tokens for p in pieces]), np.concatenate([p.documents for p in pieces]))
