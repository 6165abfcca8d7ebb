"""Scores with a real engine whose model judges at chance level: plumbing is asserted, and a score near chance."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dragoman.errors import InvalidSpec
from dragoman.llm import Endpoint, StoreResponseCache
from scorer.llm_judge import LlmJudge
from scorer.scores_kind import ScoresKind
from scorer.spec import LlmRef, ScoresSpec

from tests.support.llm_engine import Engine, engine
from tests.support.local_run import reversed_order, run_local
from tests.unit.scorer import planted as p
from tests.unit.scorer.test_scores_kind import statistics, table


class DictStore:
    """Bytes by key, as an object store keeps them."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def get_bytes(self, key: str) -> bytes | None:
        return self.objects.get(key)

    def put_bytes(self, key: str, data: bytes) -> None:
        self.objects[key] = data

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return self.objects.setdefault(key, data) is data


@pytest.fixture(scope="module")
def running() -> Iterator[Engine]:
    with engine(ctx=1024) as started:
        yield started


def spec(**changes: object) -> ScoresSpec:
    fields = {"window_length": p.LENGTH, "bootstrap_count": 200, "active_count": 4, "inactive_count": 4, **changes}
    return ScoresSpec(explanations_id=p.EXPLANATIONS_ID, latents_id=p.LATENTS_ID, scorer="detection", **fields)


def test_scores_with_a_real_engine(running: Engine, tmp_path: Path) -> None:
    """Of detection; fuzzing asks as many questions of the same form, and real engines answer them in tests/e2e."""
    laid = p.lay_out(p.planted(3), tmp_path / "in")
    cache = DictStore()
    judge = LlmJudge(Endpoint(running.url, concurrency=2), StoreResponseCache(cache))
    kind = ScoresKind(judge, laid.artifacts)
    made = run_local(kind, spec(latents_per_task=2, null_count=2), laid.inputs, tmp_path / "scores")
    examples, found = table(made, "examples.parquet"), statistics(made)
    assert len(examples) == found["question_count"] == found["answered_count"] == 3 * (8 + 4)
    assert all(0.0 <= e["p_yes"] <= 1.0 and e["answer"] is (e["p_yes"] > 0.5) for e in examples)
    assert len({e["p_yes"] for e in examples}) > 10
    assert found["model"] == running.model
    assert abs(found["auroc"]["mean"] - 0.5) < 0.4
    # The prefix is read once, not once a question.
    assert found["cached_tokens"] > 0.6 * found["prompt_tokens"]
    assert found["completion_tokens"] == len(examples)
    asked = len(cache.objects)
    assert 2 <= asked < len(examples), "a page for each task, in one piece or in some"
    dry = run_local(kind, spec(latents_per_task=2, null_count=2, dry_run=True), laid.inputs, tmp_path / "dry")
    counted = statistics(dry)
    assert (counted["planned_prompt_tokens"], counted["token_counter"]) == (found["prompt_tokens"], "engine")
    again = run_local(
        kind, spec(latents_per_task=2, null_count=2), laid.inputs, tmp_path / "again", order=reversed_order
    )
    assert [q.sha256 for q in again.manifest.parts] == [q.sha256 for q in made.manifest.parts]
    assert len(cache.objects) == asked, "the second run was answered from the response cache"


def test_unknown_model_is_refused_before_any_work(running: Engine, tmp_path: Path) -> None:
    judge = LlmJudge(Endpoint(running.url))
    with pytest.raises(InvalidSpec, match="does not serve 'smollm3'; the choices are smollm2"):
        judge.resolve(LlmRef(model="smollm3"))
