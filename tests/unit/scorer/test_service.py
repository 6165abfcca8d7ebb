"""The frame: settings, kinds, what the RPCs hand to the desk."""

import asyncio
import socket
import subprocess
import sys

import pytest
from dragoman.errors import InvalidSpec
from dragoman.explanation.v1 import explanation_pb2
from dragoman.scoring.v1 import scoring_pb2
from dragoman.vitals import Vitals
from scorer.__main__ import definition
from scorer.config import Config
from scorer.scores_kind import ScoresKind
from scorer.servicer import ScoringServicer
from scorer.spec import ScoresSpec

from tests.support.memory_desk import MemoryDesk

SPEC = scoring_pb2.ScoresSpec(
    explanations_id="explanations-" + "2" * 32,
    latents_id="latents-" + "1" * 32,
    scorer=scoring_pb2.SCORER_FUZZING,
    active_count=7,
    null_count=0,
    llm=explanation_pb2.LlmRef(model="judge"),
)


def test_every_field_of_the_contract_is_a_field_of_the_spec() -> None:
    fields = [field.name for field in scoring_pb2.ScoresSpec.DESCRIPTOR.fields]
    assert sorted(ScoresSpec.model_fields) == sorted(fields)


def test_submit_scores_hands_the_spec_to_the_desk() -> None:
    desk = MemoryDesk()
    servicer = ScoringServicer(desk)
    request = scoring_pb2.SubmitScoresRequest(spec=SPEC, request_id="once")
    first = asyncio.run(servicer.SubmitScores(request, None))
    assert first.created
    spec = ScoresSpec.model_validate(dict(desk.jobs[first.job.id].spec))
    assert (spec.scorer, spec.active_count, spec.inactive_count, spec.null_count) == ("fuzzing", 7, 20, 0)
    assert spec.llm.model == "judge"


def test_submit_scorecard_hands_the_spec_to_the_desk() -> None:
    desk = MemoryDesk()
    run = scoring_pb2.RunRef(scores_ids=["scores-" + "3" * 32], explanations_id="explanations-" + "2" * 32)
    spec = scoring_pb2.ScorecardSpec(trained=run, control=run, title="A title")
    response = asyncio.run(ScoringServicer(desk).SubmitScorecard(scoring_pb2.SubmitScorecardRequest(spec=spec), None))
    assert desk.jobs[response.job.id].kind == "scorecard"
    assert desk.jobs[response.job.id].spec["title"] == "A title"


def test_defaults_without_a_setting() -> None:
    assert Config.from_env({}).embedder.url == "", "there is no default: without one, embedding scorers say so"
    engine = Config.from_env({}).engine
    assert (engine.url, engine.concurrency, engine.timeout) == ("http://127.0.0.1:8090", 4, 300.0)


def test_a_worker_whose_engine_is_away_is_not_ready_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("DRAGOMAN_LLM_URL", url)
        troubles = Vitals(definition().checks).unready()
    assert set(troubles) == {"language model"}
    assert troubles["language model"].startswith(f"no language-model engine answers at {url}")
    assert "set DRAGOMAN_LLM_URL" in troubles["language model"]


def test_settings_come_from_the_environment() -> None:
    engine = Config.from_env(
        {"DRAGOMAN_LLM_URL": "http://there", "DRAGOMAN_LLM_API_KEY": "k", "SCORER_LLM_CONCURRENCY": "64"}
    ).engine
    assert (engine.url, engine.api_key, engine.concurrency, engine.model) == ("http://there", "k", 64, "")


@pytest.mark.parametrize("value", ["many", "0", "-3", "nan", "inf"])
def test_a_wrong_setting_is_named(value: str) -> None:
    with pytest.raises(InvalidSpec) as error:
        Config.from_env({"SCORER_LLM_CONCURRENCY": value})
    assert error.value.violations[0].field == "SCORER_LLM_CONCURRENCY"


def test_the_serving_process_imports_no_torch() -> None:
    code = "import sys, scorer.__main__; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_kinds_need_a_judge_and_artifacts_only() -> None:
    alike = {role: role for role in ("effects", "explanations", "latents")}
    assert ScoresKind.input_kinds == {**alike, "written_latents": "latents"}
