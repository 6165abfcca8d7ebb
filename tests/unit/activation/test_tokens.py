"""The tokens kind over real files and a real tokenizer."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from activation.spec import TokensSpec
from dragoman.artifacts import Manifest, PartInfo
from dragoman.errors import InvalidSpec, UserTaskError
from dragoman.folder import FolderArtifact
from dragoman.kinds import AnyKind
from latent_cache.token_rows import TokenRows
from pydantic import ValidationError
from tokenizers import Tokenizer
from transformers import ByT5Tokenizer

from tests.support.local_run import reversed_order, run_local
from tests.support.synthetic_latents import Parts, in_folder
from tests.support.tiny import text_of

Kinds = dict[str, AnyKind]


def _spec(source: Path, tokenizer: Path, **fields: Any) -> TokensSpec:
    return TokensSpec(**{"source": str(source), "tokenizer": str(tokenizer), "ctx_len": 32, **fields})


def _documents(tokens: FolderArtifact) -> list[dict[str, Any]]:
    return pq.read_table(tokens.download("documents.parquet")).to_pylist()


def _ids_by_document(tokens: FolderArtifact) -> dict[int, list[int]]:
    rows = TokenRows(tokens)
    every = np.arange(rows.row_count)
    ids, owners = rows.tokens(every).reshape(-1), rows.documents(every).reshape(-1)
    return {d: ids[owners == d].tolist() for d in np.unique(owners[owners >= 0]).tolist()}


def test_rows_hold_every_token_of_every_document(
    kinds: Kinds, corpus: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    tokens = run_local(kinds["tokens"], _spec(corpus, tokenizer_folder, bos="always"), {}, tmp_path / "tokens")
    tokenizer = Tokenizer.from_str(tokens.read("tokenizer.json").decode())
    found, documents = _ids_by_document(tokens), _documents(tokens)
    assert [d["document"] for d in documents] == list(range(12))
    assert sorted(d["name"] for d in documents) == sorted(f"{'more/' if i == 5 else ''}{i:02d}.txt" for i in range(12))
    for document in documents:
        text = (corpus / document["name"]).read_text(encoding="utf-8")
        assert found[document["document"]] == tokenizer.encode(text, add_special_tokens=False).ids
        assert document["char_count"] == len(text)
        assert document["token_count"] == len(found[document["document"]])
    statistics: Any = tokens.manifest.statistics
    assert statistics["token_count"] == sum(len(ids) for ids in found.values())
    assert statistics["vocab_size"] == 300
    assert statistics["bos_token_id"] == 0
    assert (statistics["has_bos"], statistics["document_count"], statistics["ctx_len"]) == (True, 12, 32)


def test_train_rows_come_first_and_each_row_is_of_one_split(
    kinds: Kinds, corpus: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    tokens = run_local(kinds["tokens"], _spec(corpus, tokenizer_folder, test_fraction=0.3), {}, tmp_path / "tokens")
    rows, split = TokenRows(tokens), {d["document"]: d["split"] for d in _documents(tokens)}
    assert list(split.values()) == sorted(split.values(), reverse=True), "train, then test"
    owners = rows.documents(np.arange(rows.row_count))
    for row, documents in enumerate(owners):
        assert {split[d] for d in documents[documents >= 0].tolist()} == {rows.split(row)}
    assert sum(s == "test" for s in split.values()) == tokens.manifest.statistics["test_document_count"] == 4
    assert not tokens.manifest.statistics["has_bos"], "this tokenizer puts no BOS before a text, so auto puts none"


def test_bytes_do_not_depend_on_the_order_of_tasks(
    kinds: Kinds, corpus: Path, tokenizer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activation.tokens_kind._GROUP_BYTES", 3000)
    monkeypatch.setattr("activation.tokens_kind._POSITIONS_PER_SHARD", 500)
    monkeypatch.setattr("activation.tokenise_run._TOKENS_PER_PART", 200)
    spec = _spec(corpus, tokenizer_folder, test_fraction=0.25, max_document_tokens=70)
    assert len(kinds["tokens"].plan(kinds["tokens"].resolve(spec), {})[0].tasks) > 2
    one = run_local(kinds["tokens"], spec, {}, tmp_path / "one")
    other = run_local(kinds["tokens"], spec, {}, tmp_path / "other", order=reversed_order)
    assert [(p.name, p.sha256) for p in one.manifest.parts] == [(p.name, p.sha256) for p in other.manifest.parts]
    shards = [p for p in one.manifest.parts if p.name.startswith("rows-")]
    assert len(shards) > 3
    assert {p.row_count for p in shards[:-1]} == {one.manifest.statistics["rows_per_shard"]}
    assert [p.metadata["first_row"] for p in shards] == np.cumsum([0, *(p.row_count for p in shards[:-1])]).tolist()


def test_long_documents_are_cut_into_several_of_the_same_split(
    kinds: Kinds, corpus: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    whole = run_local(kinds["tokens"], _spec(corpus, tokenizer_folder), {}, tmp_path / "whole")
    cut = run_local(kinds["tokens"], _spec(corpus, tokenizer_folder, max_document_tokens=100), {}, tmp_path / "cut")
    found: dict[str, list[int]] = {}
    splits: dict[str, set[str]] = {}
    chars: dict[str, int] = {}
    ids = _ids_by_document(cut)
    for document in _documents(cut):
        name = document["name"].split("[")[0]
        assert 0 < document["token_count"] <= 100
        found.setdefault(name, []).extend(ids[document["document"]])
        splits.setdefault(name, set()).add(document["split"])
        chars[name] = chars.get(name, 0) + document["char_count"]
    uncut = _ids_by_document(whole)
    for document in _documents(whole):
        assert found[document["name"]] == uncut[document["document"]]
        assert splits[document["name"]] == {document["split"]}
        assert chars[document["name"]] == document["char_count"]


def test_only_so_many_documents_are_used(kinds: Kinds, corpus: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    tokens = run_local(kinds["tokens"], _spec(corpus, tokenizer_folder, max_documents=5), {}, tmp_path / "few")
    assert tokens.manifest.statistics["document_count"] == 5
    assert len(_ids_by_document(tokens)) == 5


def _texts(root: Path, texts: list[str]) -> FolderArtifact:
    """A texts artifact, as the scorer writes it."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": texts, "latent": pa.array(range(len(texts)), pa.int32())}), sink)
    data = sink.getvalue()
    info = PartInfo("texts.parquet", "texts.parquet", len(data), hashlib.sha256(data).hexdigest(), len(texts))
    return in_folder(Parts(Manifest("texts-" + "4" * 32, "texts", 1, {}, {}, [info], {}), {info.name: data}), root)


def test_written_texts_are_documents_named_by_their_rows(kinds: Kinds, tokenizer_folder: Path, tmp_path: Path) -> None:
    texts = [f"{'a house ' * n}by the sea" for n in range(1, 8)]
    inputs = {"texts": _texts(tmp_path, texts)}
    spec = TokensSpec(texts_id=inputs["texts"].id, tokenizer=str(tokenizer_folder), ctx_len=32, test_fraction=0.0)
    tokens = run_local(kinds["tokens"], spec, inputs, tmp_path / "tokens")
    tokenizer = Tokenizer.from_str(tokens.read("tokenizer.json").decode())
    found = _ids_by_document(tokens)
    named = {document["name"]: found[document["document"]] for document in _documents(tokens)}
    assert named == {
        f"texts.parquet#{n}": tokenizer.encode(text, add_special_tokens=False).ids for n, text in enumerate(texts)
    }
    again = run_local(kinds["tokens"], spec, inputs, tmp_path / "again", order=reversed_order)
    assert [q.sha256 for q in again.manifest.parts] == [q.sha256 for q in tokens.manifest.parts]


def test_texts_come_from_one_place(kinds: Kinds, corpus: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    texts_id, tokenizer = "texts-" + "4" * 32, str(tokenizer_folder)
    for fields in ({}, {"source": str(corpus), "texts_id": texts_id}):
        with pytest.raises(ValidationError, match="either source or texts_id"):
            TokensSpec(tokenizer=tokenizer, **fields)
    with pytest.raises(ValidationError, match="holds no conversations"):
        TokensSpec(tokenizer=tokenizer, texts_id=texts_id, messages_field="messages")
    one = {"texts": _texts(tmp_path, ["only one"])}
    with pytest.raises(InvalidSpec, match="there is only 1 document"):
        run_local(kinds["tokens"], TokensSpec(tokenizer=tokenizer, texts_id=texts_id), one, tmp_path / "x")


def test_text_is_only_ever_text(kinds: Kinds, tokenizer_folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "texts"
    source.mkdir()
    for i in range(3):
        (source / f"{i}.txt").write_text("a <s> in a text is not the start of one", encoding="utf-8")
    tokens = run_local(kinds["tokens"], _spec(source, tokenizer_folder, bos="always"), {}, tmp_path / "tokens")
    assert all(0 not in ids for ids in _ids_by_document(tokens).values())


def test_bos_follows_the_tokenizer_or_the_spec(
    kinds: Kinds, corpus: Path, bos_tokenizer_folder: Path, plain_tokenizer_folder: Path, tmp_path: Path
) -> None:
    auto = run_local(kinds["tokens"], _spec(corpus, bos_tokenizer_folder), {}, tmp_path / "auto")
    rows = TokenRows(auto).tokens(np.arange(4))
    assert (rows[:, 0] == 0).all()
    assert (rows[:, 1:] != 0).all(), "no second BOS"
    never = run_local(kinds["tokens"], _spec(corpus, bos_tokenizer_folder, bos="never"), {}, tmp_path / "never")
    assert never.manifest.statistics["bos_token_id"] is None
    assert 0 not in TokenRows(never).tokens(np.arange(4))
    with pytest.raises(InvalidSpec, match="neither a BOS nor an EOS token; use 'never'") as caught:
        kinds["tokens"].resolve(_spec(corpus, plain_tokenizer_folder, bos="always"))
    assert caught.value.violations[0].field == "bos"


def test_what_is_resolved_resolves_to_itself(kinds: Kinds, corpus: Path, tokenizer_folder: Path) -> None:
    resolved = kinds["tokens"].resolve(_spec(corpus, tokenizer_folder))
    assert kinds["tokens"].resolve(resolved) == resolved
    assert len(resolved.source_fingerprint) == len(resolved.tokenizer_fingerprint) == 64
    wrong = resolved.model_copy(update={"source_fingerprint": "0" * 64})
    with pytest.raises(InvalidSpec, match="the spec says 0000"):
        kinds["tokens"].resolve(wrong)


def test_files_that_change_after_submit_fail_the_task(kinds: Kinds, tokenizer_folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "texts"
    source.mkdir()
    for i in range(3):
        (source / f"{i}.txt").write_text(text_of(i, 30), encoding="utf-8")
    resolved = kinds["tokens"].resolve(_spec(source, tokenizer_folder))
    (source / "1.txt").write_text("something else", encoding="utf-8")
    with pytest.raises(UserTaskError, match="changed since the job was submitted"):
        kinds["tokens"].plan(resolved, {})


def test_rows_longer_than_the_models_context_are_refused(
    kinds: Kinds, corpus: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "with-config"
    folder.mkdir()
    for path in tokenizer_folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "tokenizer_config.json").write_text(
        json.dumps(json.loads((folder / "tokenizer_config.json").read_text()) | {"model_max_length": 64})
    )
    with pytest.raises(InvalidSpec, match="rows of 65 tokens are longer than the model's context of 64") as caught:
        kinds["tokens"].resolve(_spec(corpus, folder, ctx_len=65))
    assert caught.value.violations[0].field == "ctx_len"


def test_one_document_cannot_be_split(kinds: Kinds, corpus: Path, tokenizer_folder: Path) -> None:
    with pytest.raises(InvalidSpec, match="there is only 1 document, and a document is never split"):
        kinds["tokens"].resolve(_spec(corpus / "01.txt", tokenizer_folder))
    assert kinds["tokens"].resolve(_spec(corpus / "01.txt", tokenizer_folder, test_fraction=0))


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        ("/nowhere/at/all", "there is no tokenizer '/nowhere/at/all' on the server's machine"),
        ("no-such.gguf", "there is no tokenizer 'no-such.gguf'"),
        ("s3://bucket/x", "this server has no object store"),
    ],
)
def test_a_tokenizer_that_is_not_there_is_refused(kinds: Kinds, corpus: Path, tokenizer: str, message: str) -> None:
    with pytest.raises(Exception, match=message):
        kinds["tokens"].resolve(_spec(corpus, Path("x")).model_copy(update={"tokenizer": tokenizer}))


def test_a_tokenizer_without_a_fast_form_is_refused(kinds: Kinds, corpus: Path, tmp_path: Path) -> None:
    ByT5Tokenizer().save_pretrained(tmp_path)
    with pytest.raises(InvalidSpec, match=r"ByT5Tokenizer\) has no fast form; a tokenizer\.json is needed") as caught:
        kinds["tokens"].resolve(_spec(corpus, tmp_path))
    assert caught.value.violations[0].field == "tokenizer"


def test_a_folder_without_a_tokenizer_is_refused(kinds: Kinds, corpus: Path) -> None:
    with pytest.raises(InvalidSpec, match="holds no tokenizer that can be loaded: a tokenizer is a folder with"):
        kinds["tokens"].resolve(_spec(corpus, corpus))


@pytest.mark.parametrize(
    ("field", "value"), [("ctx_len", 7), ("test_fraction", 0.95), ("format", "csv"), ("bos", "maybe"), ("colour", 1)]
)
def test_fields_out_of_range_or_unknown_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        TokensSpec.model_validate({"source": "a", "tokenizer": "b", field: value})
