"""The token policy: packing, chat templates, BOS, masked positions, and who checks it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from activation.core.chat import ChatTemplate, UnusableConversation
from activation.core.packing import RowShape, SecondBos, pack_rows, padded_documents
from activation.spec import TokensSpec
from activation.token_policy import check_coder_policy
from dragoman.artifacts import InputInfo, Manifest
from dragoman.errors import FailedPrecondition, InvalidSpec, UserTaskError
from dragoman.folder import FolderArtifact
from dragoman.kinds import AnyKind
from hooked_models.token_checks import check_policy
from latent_cache.token_policy import token_policy
from latent_cache.token_rows import TokenRows
from tokenizers import Tokenizer

from tests.support.local_run import run_local
from tests.support.tiny import save_tokenizer

Kinds = dict[str, AnyKind]
BOS, EOS, PAD = 0, 1, 2

_TURNS = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{{ eos_token }}{% endfor %}"
_STRICT = "{% if messages[0]['role'] != 'user' %}{{ raise_exception('the user speaks first') }}{% endif %}" + _TURNS


def _tokenizer(folder: Path, template: str | None, *, adds_bos: bool = False) -> Path:
    save_tokenizer(folder, adds_bos=adds_bos)
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder


def _conversations(folder: Path, count: int = 6) -> Path:
    folder.mkdir()
    path = folder / "talk.jsonl"
    talks = [
        [{"role": "user", "content": f"what of stone {i}"}, {"role": "assistant", "content": "the river ran past it"}]
        for i in range(count)
    ]
    path.write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks), encoding="utf-8")
    return path


def _spec(source: Path, tokenizer: Path, **fields: Any) -> TokensSpec:
    given = {"source": str(source), "tokenizer": str(tokenizer), "ctx_len": 32, **fields}
    return TokensSpec.model_validate(given)


def _chat(source: Path, tokenizer: Path, **fields: Any) -> TokensSpec:
    return _spec(source, tokenizer, messages_field="messages", **fields)


def _rows(tokens: FolderArtifact) -> tuple[Any, Any]:
    rows = TokenRows(tokens)
    every = np.arange(rows.row_count)
    return rows.tokens(every), rows.documents(every)


def _policy(tokens: FolderArtifact) -> Any:
    return tokens.manifest.statistics["token_policy"]


# -------------------------------------------------------------------- packing


@pytest.mark.parametrize("bos", [None, 9])
def test_padded_documents_each_start_a_row(bos: int | None) -> None:
    documents = [(0, np.arange(10, 17, dtype=np.int32)), (1, np.arange(20, 22, dtype=np.int32))]
    documents += [(1, np.arange(22, 24, dtype=np.int32)), (2, np.arange(30, 33, dtype=np.int32))]
    shape = RowShape(4 if bos is None else 5, bos, 0)
    for truncated in (False, True):
        rows = next(pack_rows(padded_documents(iter(documents), shape, truncated=truncated), shape))
        body, owners = rows.tokens[:, bos is not None :], rows.documents[:, bos is not None :]
        whole = [[10, 11, 12, 13], [14, 15, 16, 0], [20, 21, 22, 23], [30, 31, 32, 0]]
        assert body.tolist() == ([whole[0], *whole[2:]] if truncated else whole)
        assert owners[-1].tolist() == [2, 2, 2, -1]
        assert bos is None or (rows.tokens[:, 0].tolist(), rows.documents[:, 0].max()) == ([bos] * len(body), -1)


def test_a_bos_behind_the_bos_of_its_row_is_found_also_in_the_middle_of_a_document() -> None:
    shape = RowShape(4, 9, 0)
    with pytest.raises(SecondBos) as caught:
        list(pack_rows([(0, np.asarray([1, 2], np.int32)), (1, np.asarray([3, 9, 4], np.int32))], shape))
    assert caught.value.document == 1
    assert len(list(pack_rows([(0, np.asarray([1, 9, 2], np.int32))], shape))) == 1


def test_documents_lie_in_rows_as_packing_says(
    kinds: Kinds, corpus: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    def made(packing: str) -> FolderArtifact:
        spec = _spec(corpus, tokenizer_folder, bos="always", packing=packing, ctx_len=64)
        return run_local(kinds["tokens"], spec, {}, tmp_path / packing)

    packed, document, truncated = made("packed"), made("document"), made("truncated")
    lengths: Any = {d["name"]: d["token_count"] for d in _documents(packed)}
    assert max(lengths.values()) > 126, "some documents fill several rows"
    ids, owners = _rows(document)
    assert all(len(set(row[row >= 0].tolist())) == 1 for row in owners)
    assert document.manifest.statistics["row_count"] == sum(-(-n // 63) for n in lengths.values())
    assert (ids[:, 1:][owners[:, 1:] < 0] == PAD).all()
    assert document.manifest.statistics["token_count"] == sum(lengths.values())
    ids, owners = _rows(truncated)
    assert sorted(owners[:, 1].tolist()) == list(range(12)), "one row a document, from its first token"
    kept = {d["name"]: d["token_count"] for d in _documents(truncated)}
    assert kept == {name: min(n, 63) for name, n in lengths.items()}
    assert _policy(truncated)["truncated_document_count"] == sum(n > 63 for n in lengths.values())
    assert _policy(truncated)["truncated_token_count"] == sum(max(0, n - 63) for n in lengths.values())
    assert _policy(document)["truncated_token_count"] == 0


def _documents(tokens: FolderArtifact) -> list[dict[str, Any]]:
    return pq.read_table(tokens.download("documents.parquet")).to_pylist()


# ---------------------------------------------------------------------- chat


def test_conversations_are_rendered_and_their_special_tokens_do_not_count(kinds: Kinds, tmp_path: Path) -> None:
    folder, source = _tokenizer(tmp_path / "t", _TURNS), _conversations(tmp_path / "c")
    masked = run_local(kinds["tokens"], _chat(source, folder), {}, tmp_path / "masked")
    counted = run_local(kinds["tokens"], _chat(source, folder, count_special_tokens=True), {}, tmp_path / "counted")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    expected = {
        tuple(tokenizer.encode(f"user: what of stone {i}</s>assistant: the river ran past it</s>").ids)
        for i in range(6)
    }
    ids, owners = _rows(counted)
    assert {tuple(ids[owners == d].tolist()) for d in range(6)} == expected
    assert (_rows(masked)[0] == ids).all(), "the model sees the same"
    assert ((_rows(masked)[1] == -1) == ((owners == -1) | (ids == EOS))).all()
    assert _policy(masked)["masked_token_count"] == 12
    assert _policy(counted)["masked_token_count"] == 0
    difference = int(str(counted.manifest.statistics["token_count"])) - int(
        str(masked.manifest.statistics["token_count"])
    )
    assert difference == 12
    assert len(_policy(masked)["chat_template"]) == 64
    assert sum(d["token_count"] for d in _documents(masked)) == masked.manifest.statistics["token_count"]


def test_parquet_conversations_are_those_of_jsonl(kinds: Kinds, tmp_path: Path) -> None:
    folder, source = _tokenizer(tmp_path / "t", _TURNS), _conversations(tmp_path / "c")
    lines = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    pq.write_table(pa.Table.from_pylist(lines), tmp_path / "talk.parquet")
    one = run_local(kinds["tokens"], _chat(source, folder), {}, tmp_path / "one")
    other = run_local(kinds["tokens"], _chat(tmp_path / "talk.parquet", folder), {}, tmp_path / "other")
    assert (_rows(one)[0] == _rows(other)[0]).all()


def test_a_template_that_writes_bos_leaves_rows_without_their_own(kinds: Kinds, tmp_path: Path) -> None:
    folder = _tokenizer(tmp_path / "t", "{{ bos_token }}" + _TURNS, adds_bos=True)
    source = _conversations(tmp_path / "c")
    auto = run_local(kinds["tokens"], _chat(source, folder, packing="document", ctx_len=128), {}, tmp_path / "auto")
    ids, owners = _rows(auto)
    assert (ids[:, 0] == BOS).all()
    assert len(ids) == 6
    assert (ids[:, 1:] != BOS).all()
    assert (owners[:, 0] == -1).all(), "BOS counts no more when a template writes it"
    assert (auto.manifest.statistics["has_bos"], _policy(auto)["bos_token_id"]) == (False, None)
    with pytest.raises(UserTaskError, match=r"talk\.jsonl#\d starts with a BOS token, and so does each row: .*'never'"):
        run_local(kinds["tokens"], _chat(source, folder, bos="always"), {}, tmp_path / "always")
    twice = _tokenizer(tmp_path / "twice", "{{ bos_token }}{{ bos_token }}" + _TURNS)
    with pytest.raises(UserTaskError, match=r"talk\.jsonl#\d starts with two BOS tokens"):
        run_local(kinds["tokens"], _chat(source, twice, bos="never"), {}, tmp_path / "never")


def test_a_tokenizer_without_a_template_is_refused(kinds: Kinds, tmp_path: Path, tokenizer_folder: Path) -> None:
    with pytest.raises(InvalidSpec, match="has no chat template; use the tokenizer of a chat model") as caught:
        kinds["tokens"].resolve(_chat(_conversations(tmp_path / "c"), tokenizer_folder))
    assert caught.value.violations[0].field == "messages_field"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("hello", "document 2 .*: field 'messages' holds no usable conversation: it is str; expected a list"),
        ([], "it is an empty list"),
        ([{"role": "user"}], "message 1: content is missing"),
        ([{"role": "user", "content": 3}], "message 1: content is int; expected a string"),
        (["hello"], "message 1 is str; expected role and content"),
        ([{"role": "system", "content": "x"}], "the chat template refuses it: the user speaks first"),
    ],
)
def test_a_malformed_conversation_is_refused_by_name(kinds: Kinds, tmp_path: Path, value: Any, message: str) -> None:
    folder, good = _tokenizer(tmp_path / "t", _STRICT), {"messages": [{"role": "user", "content": "a"}]}
    source = tmp_path / "talk.jsonl"
    source.write_text(json.dumps(good) + "\n" + json.dumps({"messages": value}) + "\n", encoding="utf-8")
    with pytest.raises(InvalidSpec, match=message) as caught:
        kinds["tokens"].resolve(_chat(source, folder))
    assert "talk.jsonl" in caught.value.message


def test_plain_text_holds_no_conversations(kinds: Kinds, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="is plain text and has no field 'messages'") as caught:
        kinds["tokens"].resolve(_chat(corpus, _tokenizer(tmp_path / "t", _TURNS)))
    assert caught.value.violations[0].field == "messages_field"


def test_a_template_knows_no_date_and_cannot_reach_out() -> None:
    dated = ChatTemplate("{% if strftime_now is defined %}today{% else %}always{% endif %}", {})
    assert dated.render([{"role": "user", "content": "a"}]) == "always"
    with pytest.raises(UnusableConversation, match="refuses it"):
        ChatTemplate("{{ messages.__class__.__mro__ }}", {}).render([{"role": "user", "content": "a"}])


# -------------------------------------------------------------------- checks


def _info(kind: str, **statistics: Any) -> InputInfo:
    manifest = Manifest(f"{kind}-{'1' * 32}", kind, 2, {}, {}, (), statistics)
    return InputInfo(manifest.id, kind, {}, manifest, {})


_GIVEN: dict[str, Any] = {
    "version": 1, "bos": "auto", "bos_token_id": 0, "packing": "packed", "chat_template": None,
    "truncated_document_count": 0, "truncated_token_count": 0, "counts_special_tokens": False, "masked_token_count": 0,
}  # fmt: skip


def test_a_policy_that_is_not_known_or_contradicts_the_rows_is_refused() -> None:
    with pytest.raises(FailedPrecondition, match=r"of tokens-1 is of version 7; this reads version 1"):
        token_policy({"has_bos": True, "token_policy": {**_GIVEN, "version": 7}}, "tokens-1")
    with pytest.raises(FailedPrecondition, match="has_bos is False, its token policy has bos_token_id 0"):
        token_policy({"has_bos": False, "token_policy": _GIVEN}, "tokens-1")
    with pytest.raises(InvalidSpec, match="version 7") as caught:
        check_policy(_info("tokens", has_bos=True, token_policy={**_GIVEN, "version": 7}))
    assert caught.value.violations[0].field == "tokens_id"
    assert token_policy({"has_bos": True, "bos_token_id": 3}, "tokens of version 1").bos_token_id == 3


def test_a_coder_takes_tokens_of_its_own_policy_only() -> None:
    tokens = _info("tokens", has_bos=True, token_policy=_GIVEN)
    check_coder_policy(tokens, _info("coder", token_policy={**_GIVEN, "bos": "always", "masked_token_count": 4}))
    check_coder_policy(tokens, _info("coder"))
    other = {**_GIVEN, "bos_token_id": None, "counts_special_tokens": True}
    with pytest.raises(InvalidSpec, match="bos_token_id none against 0, counts_special_tokens true against false"):
        check_coder_policy(tokens, _info("coder", token_policy=other))
