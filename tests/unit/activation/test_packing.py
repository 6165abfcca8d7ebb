"""Packing and the draw of documents: nothing lost, nothing doubled, nothing in both splits."""

import numpy as np
from activation.core.packing import Rows, RowShape, equal_blocks, pack_rows, scrambled
from activation.core.splitting import draw_documents
from hypothesis import given
from hypothesis import strategies as st

_DOCUMENTS = st.lists(st.lists(st.integers(3, 99), max_size=40), max_size=12)
_SHAPES = st.builds(RowShape, st.integers(2, 11), st.sampled_from([None, 1]), st.just(2))


def _packed(documents: list[list[int]], shape: RowShape, rows_per_block: int = 3) -> Rows:
    numbered = ((i, np.asarray(d, np.int32)) for i, d in enumerate(documents))
    blocks = list(equal_blocks(pack_rows(numbered, shape), rows_per_block))
    assert all(len(b) == rows_per_block for b in blocks[:-1])
    empty = np.empty((0, shape.ctx_len), np.int32)
    return Rows(
        np.concatenate([empty, *(b.tokens for b in blocks)]), np.concatenate([empty, *(b.documents for b in blocks)])
    )


@given(_DOCUMENTS, _SHAPES)
def test_every_token_is_packed_once_in_order_with_its_document(documents: list[list[int]], shape: RowShape) -> None:
    rows = _packed(documents, shape)
    counted = rows.documents >= 0
    assert rows.tokens[counted].tolist() == [t for d in documents for t in d]
    assert rows.documents[counted].tolist() == [i for i, d in enumerate(documents) for _ in d]


@given(_DOCUMENTS, _SHAPES)
def test_scrambling_keeps_tokens_and_places_of_documents(documents: list[list[int]], shape: RowShape) -> None:
    rows = _packed(documents, shape)
    mixed, counted = scrambled(rows, 1), rows.documents >= 0
    assert sorted(mixed.tokens[counted].tolist()) == sorted(rows.tokens[counted].tolist())
    assert np.array_equal(mixed.tokens[~counted], rows.tokens[~counted])
    assert np.array_equal(mixed.documents, rows.documents)
    assert np.array_equal(mixed.tokens, scrambled(rows, 1).tokens)
    if len(set(rows.tokens[counted].tolist())) > 8:
        assert not np.array_equal(mixed.tokens, rows.tokens)


@given(_DOCUMENTS, _SHAPES)
def test_each_row_begins_with_bos_and_only_the_last_is_padded(documents: list[list[int]], shape: RowShape) -> None:
    rows = _packed(documents, shape)
    body = rows.documents
    if shape.bos_id is not None:
        assert (rows.tokens[:, 0] == shape.bos_id).all()
        assert (rows.documents[:, 0] == -1).all()
        body = body[:, 1:]
    assert (body[:-1] >= 0).all()
    last = (body[-1:] >= 0).astype(int)
    assert (np.diff(last, axis=1) <= 0).all(), "padding is at the end"
    assert (rows.tokens[rows.documents == -1] != 99).all()


@given(st.integers(2, 200), st.integers(0, 250), st.floats(0, 0.9), st.integers(-5, 5))
def test_a_document_is_in_exactly_one_split(count: int, most: int, fraction: float, seed: int) -> None:
    draw = draw_documents(count, most, fraction, seed)
    both = draw.train.tolist() + draw.test.tolist()
    assert len(set(both)) == len(both) == min(count, most or count)
    if fraction > 0 and len(both) > 1:
        assert len(draw.train) >= 1
        assert len(draw.test) >= 1
        assert abs(len(draw.test) - fraction * len(both)) <= 1
    again = draw_documents(count, most, fraction, seed)
    assert again.train.tolist() == draw.train.tolist()


def test_another_seed_draws_another_order() -> None:
    assert draw_documents(50, 0, 0.2, 0).train.tolist() != draw_documents(50, 0, 0.2, 1).train.tolist()


def test_long_documents_are_packed_piece_by_piece() -> None:
    tokens = np.arange(3_000_000, dtype=np.int32)
    blocks = list(pack_rows([(0, tokens)], RowShape(1024, None, 0)))
    assert len(blocks) > 1
    assert max(len(b) for b in blocks) <= 2 * (1 << 20) // 1024
    assert np.concatenate([b.tokens.reshape(-1) for b in blocks])[:3_000_000].tolist() == tokens.tolist()
