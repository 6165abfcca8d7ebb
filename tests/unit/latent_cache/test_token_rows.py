"""Token rows by ranged reads are the rows that were stored."""

import numpy as np
import pytest
from dragoman.artifacts import Manifest, PartInfo
from hypothesis import given, settings
from hypothesis import strategies as st
from latent_cache import TokenRows
from latent_cache.tensor_file import TensorFile
from safetensors.numpy import save

from tests.support.memory_artifact import MemoryArtifact
from tests.support.synthetic_latents import Parts, corpus, tokens_parts

TEXT = corpus(seed=1, document_count=80, ctx_len=32)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, len(TEXT.tokens) - 1), max_size=40), st.sampled_from([7, 16, 1000]))
def test_any_rows_in_any_order(rows: list[int], rows_per_shard: int) -> None:
    token_rows = TokenRows(MemoryArtifact(tokens_parts(TEXT, rows_per_shard)))
    np.testing.assert_array_equal(token_rows.tokens(np.asarray(rows, np.int64)), TEXT.tokens[rows])
    np.testing.assert_array_equal(token_rows.documents(np.asarray(rows, np.int64)), TEXT.documents[rows])


def test_few_rows_are_ranged_reads_and_many_are_a_download() -> None:
    artifact = MemoryArtifact(tokens_parts(TEXT, 100))
    token_rows = TokenRows(artifact)
    token_rows.tokens(np.asarray([3, 4, 5, 80]))
    assert artifact.downloads == []
    assert [length for *_, length in artifact.ranges[1:]] == [3 * 32 * 4, 32 * 4]
    token_rows.tokens(np.arange(90))
    assert artifact.downloads == ["rows-00000.safetensors"]


def test_verified_rows_are_never_ranged_reads() -> None:
    artifact = MemoryArtifact(tokens_parts(TEXT, 100))
    rows = np.asarray([3, 4, 5, 80])
    assert TokenRows(artifact, verified=True).tokens(rows).tolist() == TEXT.tokens[rows].tolist()
    assert artifact.downloads == ["rows-00000.safetensors"]


def test_a_header_is_one_request_also_where_it_is_long() -> None:
    names = [f"tensor-{i:03d}" for i in range(200)]
    few, many = ({n: np.arange(i, i + 3) for i, n in enumerate(ns)} for ns in (names[:2], names))
    for tensors, expected in ((few, 2), (many, 3)):
        data = save(tensors)
        parts = [PartInfo("a.safetensors", "", len(data), "")]
        artifact = MemoryArtifact(Parts(Manifest("tokens-1", "tokens", 1, {}, {}, parts, {}), {parts[0].name: data}))
        file = TensorFile(artifact, "a.safetensors")
        assert file.read_rows("tensor-001", 1, 3).tolist() == [2, 3]
        assert len(artifact.ranges) == expected


def test_rows_outside_are_refused_and_splits_are_by_row() -> None:
    token_rows = TokenRows(MemoryArtifact(tokens_parts(TEXT)))
    with pytest.raises(IndexError, match=f"has rows 0 to {len(TEXT.tokens) - 1}"):
        token_rows.tokens(np.asarray([len(TEXT.tokens)]))
    assert token_rows.split(TEXT.train_row_count - 1) == "train"
    assert token_rows.split(TEXT.train_row_count) == "test"
    assert token_rows.tokenizer().encode("cat").ids == TEXT.tokenizer.encode("cat").ids
