"""Token rows by ranged reads are the rows that were stored."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from dragoman.artifacts import Manifest, PartInfo
from dragoman.errors import DataLoss
from dragoman.folder import FolderArtifact
from hypothesis import given, settings
from hypothesis import strategies as st
from latent_cache import TokenRows
from latent_cache.tensor_file import TensorFile
from safetensors.numpy import save

from tests.support.memory_artifact import MemoryArtifact
from tests.support.synthetic_latents import Corpus, Parts, corpus, in_folder, tokens_parts

NAME = "rows-00000.safetensors"
TEXT = corpus(seed=1, document_count=80, ctx_len=32)


@cache
def _stored(rows_per_shard: int, rows_per_block: int | None) -> MemoryArtifact:
    return MemoryArtifact(tokens_parts(TEXT, rows_per_shard, rows_per_block=rows_per_block))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, len(TEXT.tokens) - 1), max_size=40), st.sampled_from([(7, 1), (16, None), (1000, 3)]))
def test_any_rows_in_any_order(rows: list[int], cut: tuple[int, int | None]) -> None:
    token_rows = TokenRows(_stored(*cut))
    np.testing.assert_array_equal(token_rows.tokens(np.asarray(rows, np.int64)), TEXT.tokens[rows])
    np.testing.assert_array_equal(token_rows.documents(np.asarray(rows, np.int64)), TEXT.documents[rows])


def test_few_rows_are_ranged_reads_of_blocks_and_many_are_a_download() -> None:
    artifact = MemoryArtifact(tokens_parts(TEXT, 100, rows_per_block=2))
    token_rows = TokenRows(artifact)
    assert token_rows.tokens(np.asarray([3, 4, 5, 80])).tolist() == TEXT.tokens[[3, 4, 5, 80]].tolist()
    assert artifact.downloads == []
    assert [length for *_, length in artifact.ranges[1:]] == [4 * 32 * 4, 2 * 32 * 4]
    token_rows.tokens(np.arange(90))
    assert artifact.downloads == ["rows-00000.safetensors"]


def test_whole_shards_are_never_ranged_reads() -> None:
    artifact = MemoryArtifact(tokens_parts(TEXT, 100, rows_per_block=2))
    rows = np.asarray([3, 4, 5, 80])
    assert TokenRows(artifact, whole_shards=True).tokens(rows).tolist() == TEXT.tokens[rows].tolist()
    assert (artifact.downloads, artifact.ranges) == ([NAME], [])


def test_a_shard_without_checksums_is_read_whole() -> None:
    parts = tokens_parts(TEXT, 1000)
    data = save({"tokens": TEXT.tokens, "documents": TEXT.documents})
    artifact = MemoryArtifact(replace(parts, data={**parts.data, NAME: data}))
    assert TokenRows(artifact).documents(np.asarray([1, 7])).tolist() == TEXT.documents[[1, 7]].tolist()
    assert artifact.downloads == [NAME]


def test_any_flipped_byte_is_noticed_or_of_no_consequence(tmp_path: Path) -> None:
    """Also one that makes floats of integers, or rows shorter."""
    small = replace(TEXT, tokens=TEXT.tokens[:9, :3].copy(), documents=TEXT.documents[:9, :3].copy())
    folder = in_folder(tokens_parts(small, 9, rows_per_block=1), tmp_path)
    data, noticed = (folder.path / NAME).read_bytes(), 0
    assert data == (in_folder(tokens_parts(small, 9, rows_per_block=1), tmp_path / "again").path / NAME).read_bytes()
    for at in range(len(data)):
        for flip in (ord("I") ^ ord("F"), 1)[: 2 if at < len(data) - 2 * small.tokens.nbytes else 1]:
            (folder.path / NAME).write_bytes(data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :])
            noticed += not _all_right(TokenRows(FolderArtifact(folder.path)), small)
    assert noticed > len(data), "every byte of the rows, and most of the header's, of which two bits were tried"


def _all_right(rows: TokenRows, text: Corpus) -> bool:
    """True when both tensors are what they were, row by row; False when one is refused. What is wrong fails."""
    for row in np.arange(len(text.tokens)):
        try:
            found = rows.tokens(row[None]), rows.documents(row[None])
        except DataLoss as error:
            return NAME not in error.message
        assert np.array_equal(found, (text.tokens[row[None]], text.documents[row[None]]))
    return True


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
