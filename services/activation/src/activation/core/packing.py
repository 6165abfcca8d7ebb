"""Packs the tokens of documents into rows of one length."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

_ROWS_AT_ONCE = 256
_MAX_PIECE = 1 << 20


class SecondBos(Exception):
    """A row would start with two BOS tokens, the second of them from a document; `document` is its index."""

    def __init__(self, document: int) -> None:
        super().__init__(f"document {document} puts a BOS token behind that of its row")
        self.document = document


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Token rows, and the document of each token: -1 at BOS, padding and masked positions."""

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

    The same index may come several times in a row. Index -1 stands for padding; the last row is padded besides.
    Memory does not grow with the input. Raises SecondBos.
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


def padded_documents(
    documents: Iterable[tuple[int, Int32[np.ndarray, " n"]]], shape: RowShape, *, truncated: bool
) -> Iterator[tuple[int, Int32[np.ndarray, " n"]]]:
    """Puts padding (index -1) behind each document, so that the next one starts a row in `pack_rows`.

    truncated: of each document only what fits into one row is passed on.
    """
    current, held = -1, 0
    for document, tokens in documents:
        if document != current:
            yield from _padding(held, shape)
            current, held = document, 0
        kept = tokens[: shape.payload - held] if truncated else tokens
        held += len(kept)
        if len(kept):
            yield document, kept
    yield from _padding(held, shape)


def _padding(held: int, shape: RowShape) -> Iterator[tuple[int, Int32[np.ndarray, " n"]]]:
    missing = -held % shape.payload
    if missing:
        yield -1, np.full(missing, shape.pad_id, np.int32)


def masked(rows: Rows, token_ids: Int32[np.ndarray, " n"]) -> Rows:
    """Takes positions that hold one of some tokens out of their documents; the model still sees them."""
    return Rows(rows.tokens, np.where(np.isin(rows.tokens, token_ids), np.int32(-1), rows.documents))


def scrambled(rows: Rows, seed: int) -> Rows:
    """Permutes the tokens of documents over all places of documents: each token is as frequent as before, and nothing
    says what stands beside it."""
    tokens, held = rows.tokens.copy(), rows.documents >= 0
    tokens[held] = np.random.Generator(np.random.PCG64(seed)).permutation(tokens[held])
    return Rows(tokens, rows.documents)


def _rows(tokens: Int32[np.ndarray, " n"], owners: Int32[np.ndarray, " n"], shape: RowShape) -> Rows:
    count = -(-len(tokens) // shape.payload)
    padding = count * shape.payload - len(tokens)
    body = np.concatenate([tokens, np.full(padding, shape.pad_id, np.int32)]).reshape(count, shape.payload)
    body_owners = np.concatenate([owners, np.full(padding, -1, np.int32)]).reshape(count, shape.payload)
    if shape.bos_id is None:
        return Rows(body.astype(np.int32), body_owners)
    second = np.flatnonzero((body[:, 0] == shape.bos_id) & (body_owners[:, 0] >= 0))
    if len(second):
        raise SecondBos(int(body_owners[second[0], 0]))
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
