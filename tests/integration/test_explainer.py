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
from dragoman.llm import Endpoint, LLMTimeout
from explainer.explanations_kind import ExplanationsKind
from explainer.llm_writer import LlmWriter
from explainer.spec import ExplanationsSpec, LlmRef

from tests.support.llm_engine import SMALLEST, Engine, engine, free_port
from tests.support.local_run import reversed_order, run_local
from tests.support.scripted_http import Reply, chat_reply, error_reply, scripted
from tests.support.synthetic_latents import activations_of, corpus, in_folder, latents_parts, tokens_parts

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
    return folder


def spec_of(**fields: Any) -> ExplanationsSpec:
    given = {"window_length": 16, "min_windows": 5, "example_count": 4, "latents_per_task": 2, "max_failed_fraction": 1}
    return ExplanationsSpec(**{"latents_id": "latents-" + "1" * 32, **given, **fields})


def run(root: Path, folder: Path, writer: LlmWriter, spec: ExplanationsSpec, order: Any = None) -> FolderArtifact:
    artifacts = FolderArtifacts(root)
    latents = artifacts.artifact(spec.latents_id)
    return run_local(ExplanationsKind(writer, artifacts), spec, {"latents": latents}, folder, order=order)


def rows(artifact: FolderArtifact) -> list[dict[str, Any]]:
    return pq.read_table(artifact.download("explanations.parquet")).to_pylist()


def test_a_real_engine_writes_over_a_cached_prefix_and_a_resumed_job_pays_nothing(
    root: Path, tmp_path: Path, running: Engine
) -> None:
    replies = ReplyFolder(tmp_path / "replies")
    spec = spec_of(selection={"latents": [0, 1, 2]}, llm={"max_tokens": 24})
    writer = LlmWriter(Endpoint(running.url, KEY, concurrency=2), replies)
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
    # Three prompts in two slots: at least the last finds the fixed beginning in the engine's cache.
    assert first.manifest.statistics["cached_tokens"] > 300
    away = _Submitted(Endpoint(f"http://127.0.0.1:{free_port()}"), replies)
    again = run(root, tmp_path / "b", away, spec, reversed_order)
    assert [p.sha256 for p in again.manifest.parts] == [p.sha256 for p in first.manifest.parts]


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
