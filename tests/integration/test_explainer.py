"""Explanations by a real engine, and an engine that misbehaves."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from dragoman.errors import InvalidSpec, Unavailable, UserTaskError
from dragoman.folder import FolderArtifact, FolderArtifacts
from dragoman.llm import Endpoint, Failure, LLMTimeout, LLMUnavailable
from explainer.explanations_kind import ExplanationsKind
from explainer.llm_writer import LlmWriter
from explainer.nla_client import NlaClient, NlaEndpoint
from explainer.options import FORMS
from explainer.spec import ExplanationsSpec, LlmRef, NlaRef
from explainer.verbaliser import Place

from tests.support.llm_engine import SMALLEST, Engine, engine, free_port
from tests.support.local_run import reversed_order, run_local
from tests.support.scripted_http import Reply, chat_reply, error_reply, scripted
from tests.support.synthetic_effects import EFFECTS_ID, effects_parts
from tests.support.synthetic_latents import PLANTED, activations_of, corpus, in_folder, latents_parts, tokens_parts

KEY = "sk-test-4321"


class ReplyFolder:
    """A response cache of files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()

    def get(self, key: str) -> bytes | None:
        path = self._folder / key
        return path.read_bytes() if path.exists() else None

    def keep(self, key: str, reply: bytes) -> bytes:
        if self.get(key) is None:
            self.put(key, reply)
        return self.get(key) or reply

    def put(self, key: str, reply: bytes) -> None:
        (self._folder / key).write_bytes(reply)


@pytest.fixture(scope="module")
def running() -> Iterator[Engine]:
    with engine(slots=2, ctx=2048, api_key=KEY) as started:
        yield started


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    text = corpus(seed=5)
    in_folder(tokens_parts(text), folder)
    in_folder(latents_parts(text, activations_of(text)), folder)
    in_folder(effects_parts([0, 1, 2], dict(enumerate(PLANTED))), folder)
    return folder


def spec_of(**fields: Any) -> ExplanationsSpec:
    given = {"window_length": 16, "min_windows": 5, "example_count": 4, "latents_per_task": 2, "max_failed_fraction": 1}
    return ExplanationsSpec(**{"latents_id": "latents-" + "1" * 32, **given, **fields})


def run(
    root: Path,
    folder: Path,
    writer: LlmWriter,
    spec: ExplanationsSpec,
    order: Any = None,
    verbaliser: NlaClient | None = None,
) -> FolderArtifact:
    artifacts = FolderArtifacts(root)
    kind = ExplanationsKind(writer, artifacts, verbaliser)
    inputs = {role: artifacts.artifact(id_) for role, id_ in kind.inputs(spec).items()}
    return run_local(kind, spec, inputs, folder, order=order)


def rows(artifact: FolderArtifact) -> list[dict[str, Any]]:
    return pq.read_table(artifact.download("explanations.parquet")).to_pylist()


def test_a_real_engine_writes_over_a_cached_prefix_and_a_resumed_job_pays_nothing(
    root: Path, tmp_path: Path, running: Engine
) -> None:
    replies = ReplyFolder(tmp_path / "replies")
    spec = spec_of(selection={"latents": [0, 1, 2]}, llm={"max_tokens": 24})
    writer = LlmWriter(Endpoint(running.url, KEY, concurrency=1), replies)
    first = run(root, tmp_path / "a", writer, spec)
    found = rows(first)
    assert [row["latent"] for row in found] == [0, 1, 2]
    for row in found:
        assert row["model"] == SMALLEST
        assert row["outcome"] in {"explained", "unparsable", "refused"}
        assert (row["explanation"] is None) == (row["outcome"] != "explained")
        assert row["reply"]
        assert row["prompt_tokens"] > 400
        assert 0 < row["completion_tokens"] <= 24
    # The second and third find the fixed beginning in the engine's cache.
    assert first.manifest.statistics["cached_tokens"] > 700
    away = _Submitted(Endpoint(f"http://127.0.0.1:{free_port()}"), replies)
    again = run(root, tmp_path / "b", away, spec, reversed_order)
    assert [p.sha256 for p in again.manifest.parts] == [p.sha256 for p in first.manifest.parts]


def verbalised(number: int, path: str, body: bytes) -> Reply:
    """Answers as Neuronpedia's endpoint does."""
    asked = json.loads(body)
    word = asked["text"].split()[-1]
    return Reply(body=json.dumps({"results": [{"description": f"A scene; the final token is '{word}'."}]}).encode())


def test_every_explainer_ends_over_a_real_engine(root: Path, tmp_path: Path, running: Engine) -> None:
    """Those with a prompt on one latent, the others on three; what was counted beforehand is what the engine read."""
    writer = LlmWriter(Endpoint(running.url, KEY, concurrency=1))
    free = [name for name, form in FORMS.items() if form.llm is None]
    done: dict[str, FolderArtifact] = {}
    with scripted(verbalised) as server:
        verbaliser = NlaClient(NlaEndpoint(server.url, "nla-key", "subject", "av"))
        for name in [*free, *(name for name in FORMS if name not in free)]:
            fields = _fields_of(name, done)
            spec = spec_of(explainer=name, **fields)
            done[name] = run(root, tmp_path / name, writer, spec, verbaliser=verbaliser)
            if name == "acts_top5":  # whose explanations other_latent exchanges
                (root / done[name].manifest.id).symlink_to(tmp_path / name)
    for name, artifact in done.items():
        for row in rows(artifact):
            if name in free:
                assert (row["outcome"], row["prompt_tokens"]) == ("explained", 0)
                continue
            assert row["outcome"] in {"explained", "unparsable", "refused"}
            assert row["reply"]
            if name in {"nla", "hypotheses"}:  # what they ask later is not known beforehand
                assert row["planned_tokens"] > row["prompt_tokens"]
            else:
                assert row["planned_tokens"] == row["prompt_tokens"]
    assert rows(done["nla"])[0]["prompt"].count("the final token is") == 2


def _fields_of(name: str, done: dict[str, FolderArtifact]) -> dict[str, Any]:
    """A small spec of each: three latents where nothing is asked, one where a prompt is read."""
    form = FORMS[name]
    fields: dict[str, Any] = {"selection": {"latents": [0, 1, 2] if form.llm is None else [0]}, "example_count": None}
    fields |= {option: 2 for option in ("example_count", "counter_count") if option in form.defaults}
    if form.llm is not None:
        fields |= {"llm": {"max_tokens": 8}, "token_budget": 100_000}
    needed: dict[str, Any] = {"effects_id": EFFECTS_ID, "texts": [{"latent": i, "explanation": "x"} for i in range(3)]}
    if "explanations_id" in form.required:
        needed["explanations_id"] = done["acts_top5"].manifest.id
    return fields | {option: value for option, value in needed.items() if option in form.required}


def test_a_verbaliser_is_retried_kept_by_request_and_never_told_its_key(tmp_path: Path) -> None:
    def script(number: int, path: str, body: bytes) -> Reply:
        asked = json.loads(body)
        assert path == "/api/nla/explain"
        assert (asked["modelId"], asked["nlaSourceId"], asked["positions"]) == ("subject", "av", [1])
        if number == 0:
            return error_reply(429, "busy", retry_after="0")
        if "long" in asked["text"]:
            return error_reply(413, "the text is too long")
        return verbalised(number, path, body)

    replies = ReplyFolder(tmp_path / "replies")
    places = [Place("a cat", 1), Place("a long", 1), Place("a dog", 1)]
    with scripted(script) as server:
        client = NlaClient(NlaEndpoint(server.url, "nla-key"), replies)
        nla = NlaRef(model="subject", source="av")
        said = dict(client.describe(places, nla))
        assert said[0] == "A scene; the final token is 'cat'."
        assert isinstance(said[1], Failure)
        assert "too long" in said[1].message
        asked = len(server.seen)
        assert dict(client.describe([places[0], places[2]], nla)) == {0: said[0], 1: said[2]}
        assert len(server.seen) == asked
    with scripted(lambda *_: error_reply(403, "nla-key is not known")) as server:
        refused = NlaClient(NlaEndpoint(server.url, "nla-key"))
        with pytest.raises(UserTaskError, match=r"HTTP 403: \[key\] is not known.*EXPLAINER_NLA_API_KEY"):
            list(refused.describe(places, NlaRef()))
    assert "nla-key" not in repr(client._endpoint)


def test_an_engine_that_cannot_count_is_told_apart_from_one_that_is_away(root: Path, tmp_path: Path) -> None:
    def openai(number: int, path: str, body: bytes) -> Reply:
        return MODELS if path.endswith("/models") else error_reply(404, "no such path")

    spec = spec_of(selection={"latents": [0]}, dry_run=True)
    with scripted(openai) as server:
        dry = run(root, tmp_path / "a", LlmWriter(Endpoint(server.url)), spec)
    assert dry.manifest.statistics["token_counter"] == "subject model"

    def vllm(number: int, path: str, body: bytes) -> Reply:
        if path != "/tokenize":
            return openai(number, path, body)
        return Reply(body=json.dumps({"count": len(json.loads(body)["messages"])}).encode())

    with scripted(vllm) as server:
        dry = run(root, tmp_path / "b", LlmWriter(Endpoint(server.url)), spec)
    assert dry.manifest.statistics["token_counter"] == "engine"
    assert dry.manifest.statistics["planned_prompt_tokens"] == 12  # system, five worked examples, the question
    away = _Submitted(Endpoint(f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(LLMUnavailable):
        run(root, tmp_path / "c", away, spec)


class _Submitted(LlmWriter):
    """Of a job that was resolved while the engine was there."""

    def resolve(self, llm: LlmRef) -> LlmRef:
        return llm.model_copy(update={"model": SMALLEST})


def test_an_unknown_model_and_an_engine_that_is_away_are_told_at_submit(root: Path, running: Engine) -> None:
    artifacts = FolderArtifacts(root)
    here = ExplanationsKind(LlmWriter(Endpoint(running.url, KEY)), artifacts)
    with pytest.raises(InvalidSpec) as caught:
        here.resolve(spec_of(llm={"model": "smollm2-135m"}))
    assert caught.value.violations[0].field == "llm.model"
    assert SMALLEST in caught.value.message
    assert KEY not in caught.value.message
    resolved = here.resolve(spec_of())
    assert resolved.llm.model == SMALLEST
    written = json.dumps(resolved.model_dump(mode="json"))
    assert KEY not in written
    assert running.url not in written
    away = ExplanationsKind(LlmWriter(Endpoint(f"http://127.0.0.1:{free_port()}")), artifacts)
    with pytest.raises(Unavailable, match="DRAGOMAN_LLM_URL"):
        away.resolve(spec_of())


MODELS = Reply(body=json.dumps({"data": [{"id": "m"}]}).encode())


def test_one_late_reply_is_recorded_and_the_others_are_kept(root: Path, tmp_path: Path) -> None:
    def script(number: int, path: str, body: bytes) -> Reply:
        if path.endswith("/models"):
            return MODELS
        asked = json.loads(body)["messages"][-1]["content"]
        if "cat" in asked.rsplit("Marked tokens:", 1)[1]:
            time.sleep(1.5)
        return chat_reply("[EXPLANATION]: words")

    with scripted(script) as server:
        writer = LlmWriter(Endpoint(server.url, timeout=0.5, concurrency=1))
        spec = spec_of(selection={"latents": [1, 0, 2]}, latents_per_task=3)
        artifact = run(root, tmp_path / "job", writer, spec)
    assert [row["outcome"] for row in rows(artifact)] == ["explained", "timeout", "explained"]
    failed = artifact.manifest.statistics["failed_by_outcome"]
    assert failed == {"unparsable": 0, "refused": 0, "timeout": 1, "no_evidence": 0}


def test_an_engine_that_never_answers_is_tried_again_later_not_recorded(root: Path, tmp_path: Path) -> None:
    def script(number: int, path: str, body: bytes) -> Reply:
        if path.endswith("/models"):
            return MODELS
        time.sleep(1.0)
        return chat_reply("too late")

    with scripted(script) as server:
        writer = LlmWriter(Endpoint(server.url, timeout=0.2))
        with pytest.raises(LLMTimeout):
            run(root, tmp_path / "job", writer, spec_of(selection={"latents": [0, 1]}))


def test_a_refused_key_is_the_users_to_mend_and_a_long_prompt_is_one_failure(root: Path, tmp_path: Path) -> None:
    def refusing(number: int, path: str, body: bytes) -> Reply:
        return MODELS if path.endswith("/models") else error_reply(401, "wrong key")

    with scripted(refusing) as server:
        writer = LlmWriter(Endpoint(server.url, KEY))
        with pytest.raises(UserTaskError):
            run(root, tmp_path / "a", writer, spec_of(selection={"latents": [0, 1]}))

    def too_long(number: int, path: str, body: bytes) -> Reply:
        return MODELS if path.endswith("/models") else error_reply(413, "the prompt exceeds the context")

    with scripted(too_long) as server:
        writer = LlmWriter(Endpoint(server.url, KEY))
        artifact = run(root, tmp_path / "b", writer, spec_of(selection={"latents": [0, 1]}))
        with pytest.raises(UserTaskError, match=r"2 of 2 latents.*exceeds the context"):
            run(root, tmp_path / "c", writer, spec_of(selection={"latents": [0, 1]}, max_failed_fraction=0.5))
    assert {row["outcome"] for row in rows(artifact)} <= {"refused", "unparsable"}
    assert all("exceeds the context" in row["reason"] for row in rows(artifact))
