"""Text sources: what is read, and what is said of text that cannot be."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from activation.core.cutting import text_pieces
from activation.core.document_field import DocumentField
from activation.core.formats import MalformedText, read_documents, scan
from activation.corpus import Corpus, checked_corpus, unchanged_corpus
from dragoman.errors import InvalidSpec, UserTaskError
from hooked_models.fingerprints import JsonCache
from hypothesis import given
from hypothesis import strategies as st


def _corpus(source: Path, cache: Path, format: str = "auto", text_field: str = "text") -> Corpus:
    return checked_corpus(str(source), format, DocumentField(text_field), None, JsonCache(cache))


def _texts(corpus: Corpus, first: int = 0, end: int | None = None) -> dict[str, str]:
    read = corpus.read(first, corpus.document_count if end is None else end)
    return {corpus.name(number): "".join(text) for number, text in read}


def _jsonl(*records: object) -> bytes:
    return b"".join(json.dumps(r).encode() + b"\n" for r in records)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two texts, three JSON lines, four Parquet rows in two row groups, and hidden files."""
    root = tmp_path / "mixed"
    (root / "sub").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / ".git" / "config").write_bytes(b"\xff")
    (root / "sub" / "é.txt").write_text("zweite", encoding="utf-8")
    (root / "a.txt").write_bytes(b"\xef\xbb\xbffirst")
    (root / "b.jsonl").write_bytes(_jsonl({"text": "x"}) + b"\n" + _jsonl({"text": "y", "n": 1}, {"text": ""}))
    table = pa.table({"text": ["p", "q", "r", "s"]})
    pq.write_table(table, root / "c.parquet", row_group_size=2)
    return root


def test_files_are_read_in_name_order_by_their_extension(mixed: Path, tmp_path: Path) -> None:
    corpus = _corpus(mixed, tmp_path / "cache")
    expected = {"a.txt": "first", "b.jsonl#0": "x", "b.jsonl#1": "y", "b.jsonl#2": ""}
    expected |= {f"c.parquet#{i}": "pqrs"[i] for i in range(4)} | {"sub/é.txt": "zweite"}
    assert _texts(corpus) == expected
    assert list(_texts(corpus)) == list(expected)


def test_any_group_reads_its_own_documents(mixed: Path, tmp_path: Path) -> None:
    corpus = _corpus(mixed, tmp_path / "cache")
    everything = list(_texts(corpus).items())
    groups = corpus.groups(1)
    assert len(groups) == 5, "a text, JSON lines, two row groups, a text"
    assert [document for first, end in groups for document in _texts(corpus, first, end).items()] == everything
    assert corpus.groups(1 << 30) == [(0, len(everything))]


def test_long_json_lines_files_are_cut_at_marks(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(_jsonl(*({"text": f"{i} " + "x" * 50_000} for i in range(100))))
    corpus = _corpus(path, tmp_path / "cache")
    groups = corpus.groups(1 << 20)
    assert len(groups) == 3
    found = [name for first, end in groups for name in _texts(corpus, first, end)]
    assert found == [f"a.jsonl#{i}" for i in range(100)]


def test_fingerprint_depends_on_names_and_bytes_only(mixed: Path, tmp_path: Path) -> None:
    first = _corpus(mixed, tmp_path / "cache")
    (mixed / "a.txt").touch()
    assert _corpus(mixed, tmp_path / "cache").fingerprint == first.fingerprint
    (mixed / "a.txt").write_text("other")
    assert _corpus(mixed, tmp_path / "cache").fingerprint != first.fingerprint
    with pytest.raises(UserTaskError, match="changed since the job was submitted"):
        unchanged_corpus(
            str(mixed), "auto", DocumentField("text"), first.fingerprint, None, JsonCache(tmp_path / "cache")
        )


def test_a_known_file_is_not_read_again(mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _corpus(mixed, tmp_path / "cache")
    monkeypatch.setattr("activation.corpus.scan", lambda *_: pytest.fail("a file was read again"))
    assert _corpus(mixed, tmp_path / "cache").fingerprint == first.fingerprint


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"abc\xff", r"a\.txt is not UTF-8: the byte at offset 3 cannot be decoded; convert it"),
        ("a.txt", b"x" * (1 << 20) + b"\xe9t\xe9", r"a\.txt is not UTF-8: the byte at offset 1048576 "),
        ("a.txt", b"x" * ((1 << 20) - 1) + b"\xc3(", r"a\.txt is not UTF-8: the byte at offset 1048575 "),
        ("a.txt", b"ends with half \xc3", r"a\.txt is not UTF-8: the byte at offset 15 "),
        ("a.txt.gz", b"\x1f\x8b\x08\x00\xff\xff", r"it is a gzip file: unpack it first"),
        ("a.jsonl", _jsonl({"text": "a"}) + b'{"text": "\xff"}\n', r"a\.jsonl is not UTF-8: the byte at offset 24 "),
        ("a.jsonl", _jsonl({"text": "a"}) + b"nonsense\n", r"a\.jsonl, document 2 \(byte 14\) is not JSON"),
        ("a.jsonl", b"[1]\n", r"is a JSON list; expected an object with a field 'text'"),
        ("a.jsonl", _jsonl({"text": 3}), r"field 'text' is int; expected a string"),
        ("a.jsonl", _jsonl({"texts": "a", "id": 1}), r"has no field 'text'; did you mean 'texts'"),
        ("a.parquet", b"not parquet at all", r"a\.parquet is not a Parquet file"),
        ("a.txt", b"", r"all 1 documents of .* are empty or white space"),
        ("a.jsonl", _jsonl({"text": ""}, {"text": " \n"}), r"all 2 documents of .* are empty or white space"),
        ("a.jsonl", b"\n\n", r"holds zero documents in 1 files"),
    ],
)
def test_text_that_cannot_be_used_is_refused_at_submit(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InvalidSpec, match=message):
        _corpus(path, tmp_path / "cache")


def test_a_missing_column_or_one_of_another_type_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"body": ["a"], "n": [1]}), path)
    with pytest.raises(InvalidSpec, match="has no column 'boddy'; did you mean 'body'") as caught:
        _corpus(path, tmp_path / "cache", text_field="boddy")
    assert caught.value.violations[0].field == "text_field"
    with pytest.raises(InvalidSpec, match="column 'n' is int64; expected string"):
        _corpus(path, tmp_path / "cache", text_field="n")


def test_a_source_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"there is no file or folder .*nowhere") as caught:
        _corpus(tmp_path / "nowhere", tmp_path / "cache")
    assert caught.value.violations[0].field == "source"
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidSpec, match="holds no files"):
        _corpus(tmp_path / "empty", tmp_path / "cache")


def test_wrong_json_late_in_a_file_is_an_error_when_it_is_read() -> None:
    data = _jsonl(*({"text": "a"} for _ in range(1500))) + _jsonl({"other": 1})
    found = scan("a.jsonl", "jsonl", io.BytesIO(data), DocumentField("text"))
    assert found.document_count == 1501
    with pytest.raises(MalformedText, match=r"document 1501 .* has no field 'text'"):
        list(read_documents("a.jsonl", "jsonl", io.BytesIO(data), DocumentField("text"), (0, 0), 1501))


@given(st.lists(st.text(alphabet="ab \n\t", max_size=30), max_size=8), st.integers(1, 20))
def test_pieces_join_to_the_text_and_stay_short(chunks: list[str], size: int) -> None:
    pieces = list(text_pieces(chunks, size))
    assert "".join(pieces) == "".join(chunks)
    assert all(len(p) < 2 * size for p in pieces)


def test_pieces_are_cut_before_white_space() -> None:
    text = "some words and more  words\n" * 50
    for piece in list(text_pieces([text], 64))[1:]:
        assert piece[0].isspace()
