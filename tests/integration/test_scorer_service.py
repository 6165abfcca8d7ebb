"""The scorer as it is deployed: gRPC, NATS, the object store, a worker's child process.

The engine is an HTTP server that answers from the words of the description, so that the score is known.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from dragoman.artifacts import Artifact
from dragoman.explanation.v1 import explanation_pb2
from dragoman.job.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc
from dragoman.kinds import Part
from dragoman.scoring.v1 import scoring_pb2, scoring_pb2_grpc
from dragoman.store import Store

from tests.support.cluster import Cluster
from tests.support.scripted_http import Reply, ScriptedServer, scripted
from tests.support.synthetic_latents import Parts
from tests.unit.scorer import planted as p
from tests.unit.scorer.test_scores_kind import statistics, table

LATENTS = 4


def answers(number: int, path: str, body: bytes) -> Reply:
    """An engine with one model, which knows the planted words."""
    if path.endswith("/models"):
        return Reply(body=json.dumps({"data": [{"id": "oracle"}]}).encode())
    p_yes = p.oracle(p.Asked.of(json.loads(body)["prompt"]))
    top = {" Yes": math.log(p_yes), " No": math.log(1 - p_yes)}
    choice = {
        "text": max(top, key=lambda word: top[word]),
        "finish_reason": "length",
        "logprobs": {"top_logprobs": [top]},
    }
    usage = {"prompt_tokens": 300, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 250}}
    return Reply(body=json.dumps({"choices": [choice], "usage": usage}).encode())


def commit(store: Store, parts: Parts) -> None:
    manifest = parts.manifest
    infos = [
        store.put_part(manifest.id, Part(q.name, data=parts.data[q.name], metadata=q.metadata), 0, index)
        for index, q in enumerate(manifest.parts)
    ]
    store.commit(replace(manifest, parts=infos))


@pytest.fixture(scope="module")
def engine() -> Iterator[ScriptedServer]:
    with scripted(answers) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, engine: ScriptedServer) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("cluster"), {"DRAGOMAN_LLM_URL": engine.url})
    try:
        started.start_infrastructure()
        made = p.planted(LATENTS)
        for parts in (made.tokens, made.latents, made.explanations):
            commit(started.store(), parts)
        started.service("scorer")
        yield started
    finally:
        started.stop()


def spec(**changes: object) -> scoring_pb2.ScoresSpec:
    fields = {"window_length": p.LENGTH, "bootstrap_count": 200, "latents_per_task": 2, **changes}
    return scoring_pb2.ScoresSpec(
        explanations_id=p.EXPLANATIONS_ID, latents_id=p.LATENTS_ID, scorer=scoring_pb2.SCORER_FUZZING, **fields
    )


def submit(cluster: Cluster, wanted: scoring_pb2.ScoresSpec) -> scoring_pb2.SubmitScoresResponse:
    stub = scoring_pb2_grpc.ScoringServiceStub(cluster.channel("scorer"))
    return stub.SubmitScores(scoring_pb2.SubmitScoresRequest(spec=wanted), timeout=60)


def wait(cluster: Cluster, job_id: str) -> job_pb2.Job:
    request = job_service_pb2.WaitJobRequest(job_id=job_id)
    request.timeout.FromSeconds(180)
    return job_service_pb2_grpc.JobServiceStub(cluster.channel("scorer")).WaitJob(request, timeout=200).job


def test_a_job_goes_from_the_request_to_the_artifact(cluster: Cluster, engine: ScriptedServer, tmp_path: Path) -> None:
    sent = submit(cluster, spec())
    assert sent.created
    job = wait(cluster, sent.job.id)
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job
    made: Artifact = cluster.store().artifact(sent.job.id)
    found = statistics(made)
    assert found["auroc"]["mean"] >= 0.95
    assert found["scored"] == LATENTS
    assert found["question_count"] == len(table(made, "examples.parquet"))
    assert [q.name for q in made.manifest.parts] == ["examples.parquet", "latents.parquet", "types.parquet"]
    assert made.manifest.spec["llm"] == {"model": "oracle", "temperature": 0.0, "max_tokens": 1}
    asked = len(engine.seen)
    again = submit(cluster, spec())
    assert (again.job.id, again.created) == (sent.job.id, False)
    assert len([path for path, _ in engine.seen[asked:] if "completions" in path]) == 0


def test_answers_are_paid_for_once(cluster: Cluster, engine: ScriptedServer) -> None:
    """A job with other intervals asks the same questions: all are answered from the response cache."""
    first = wait(cluster, submit(cluster, spec(seed=5)).job.id)
    asked = len(engine.seen)
    second = wait(cluster, submit(cluster, spec(seed=5, bootstrap_count=300)).job.id)
    assert first.id != second.id
    assert second.state == job_pb2.JOB_STATE_SUCCEEDED
    assert not [path for path, _ in engine.seen[asked:] if "completions" in path]


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"llm": explanation_pb2.LlmRef(model="orakle")}, grpc.StatusCode.INVALID_ARGUMENT, "did you mean 'oracle'"),
        ({"latents_id": p.TOKENS_ID}, grpc.StatusCode.INVALID_ARGUMENT, "latents"),
        ({"latents_id": "latents-" + "8" * 32}, grpc.StatusCode.NOT_FOUND, "latents-" + "8" * 32),
        ({"window_length": 66}, grpc.StatusCode.INVALID_ARGUMENT, "expected 16, or give latents made with"),
        ({"null_count": 21}, grpc.StatusCode.INVALID_ARGUMENT, "21 is more than active_count"),
        ({"explanations_id": "mine"}, grpc.StatusCode.INVALID_ARGUMENT, "'mine' is not an artifact id"),
    ],
)
def test_what_cannot_work_is_refused_at_once(
    cluster: Cluster, changes: dict[str, object], code: grpc.StatusCode, message: str
) -> None:
    wanted = spec()
    for name, value in changes.items():
        if name == "llm":
            wanted.llm.CopyFrom(value)
        else:
            setattr(wanted, name, value)
    with pytest.raises(grpc.RpcError) as error:
        submit(cluster, wanted)
    assert error.value.code() == code, error.value.details()
    assert message in error.value.details()


def test_an_engine_that_is_away_is_said_at_once(cluster: Cluster) -> None:
    cluster.service("scorer", "serve", environ={"DRAGOMAN_LLM_URL": "http://127.0.0.1:9"})
    stub = scoring_pb2_grpc.ScoringServiceStub(cluster.channel("scorer-serve"))
    with pytest.raises(grpc.RpcError) as error:
        stub.SubmitScores(scoring_pb2.SubmitScoresRequest(spec=spec(seed=9)), timeout=60)
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "DRAGOMAN_LLM_URL" in error.value.details()
