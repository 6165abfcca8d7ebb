"""The explainer as it is deployed, gRPC, NATS, store and worker, without any language model."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import grpc
import pyarrow.parquet as pq
import pytest
from dragoman.artifacts import Artifact
from dragoman.explanation.v1 import explanation_pb2 as pb
from dragoman.explanation.v1 import explanation_pb2_grpc
from dragoman.job.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc
from dragoman.kinds import Part
from dragoman.store import Store

from tests.support.cluster import Cluster
from tests.support.synthetic_effects import EFFECTS_ID, effects_parts
from tests.support.synthetic_latents import PLANTED, Parts, activations_of, corpus, latents_parts, tokens_parts

LATENTS = "latents-" + "1" * 32


def commit(store: Store, parts: Parts) -> None:
    manifest = parts.manifest
    infos = [
        store.put_part(manifest.id, Part(part.name, data=parts.data[part.name], metadata=part.metadata), 0, index)
        for index, part in enumerate(manifest.parts)
    ]
    store.commit(replace(manifest, parts=infos))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    nobody = {"DRAGOMAN_LLM_URL": "http://127.0.0.1:9"}
    started = Cluster(tmp_path_factory.mktemp("cluster"), nobody)
    text = corpus(seed=5)
    try:
        started.start_infrastructure()
        effects = effects_parts(range(4), dict(enumerate(PLANTED)))
        for parts in (tokens_parts(text), latents_parts(text, activations_of(text)), effects):
            commit(started.store(), parts)
        started.service("explainer")
        yield started
    finally:
        started.stop()


def submit(cluster: Cluster, explainer: Any, **fields: Any) -> job_pb2.Job:
    spec = pb.ExplanationsSpec(
        latents_id=LATENTS, explainer=explainer, window_length=16, min_windows=5, latents_per_task=2,
        selection=pb.LatentSelection(latents=range(4)), **fields,
    )  # fmt: skip
    stub = explanation_pb2_grpc.ExplanationServiceStub(cluster.channel("explainer"))
    return stub.SubmitExplanations(pb.SubmitExplanationsRequest(spec=spec), timeout=60).job


def succeeded(cluster: Cluster, job_id: str) -> Artifact:
    request = job_service_pb2.WaitJobRequest(job_id=job_id)
    request.timeout.FromSeconds(180)
    job = job_service_pb2_grpc.JobServiceStub(cluster.channel("explainer")).WaitJob(request, timeout=200).job
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job
    return cluster.store().artifact(job_id)


def test_what_needs_no_language_model_runs_where_there_is_none(cluster: Cluster) -> None:
    """The null is submitted before what it exchanges has been made, as in a pipeline."""
    own = submit(cluster, pb.EXPLAINER_ACTS_TOP5)
    exchanged = submit(cluster, pb.EXPLAINER_OTHER_LATENT, explanations_id=own.id)
    made = succeeded(cluster, exchanged.id)
    found = pq.read_table(made.download("explanations.parquet")).to_pylist()
    assert sorted(row["source_latent"] for row in found) == [0, 1, 2, 3]
    for row in found:
        assert row["source_latent"] != row["latent"]
        assert row["explanation"].split(" in ")[0] in PLANTED[row["source_latent"]]
    assert dict(made.manifest.inputs) == {"latents": LATENTS, "explanations": own.id}
    assert made.manifest.spec["llm"] is None


@pytest.mark.parametrize(
    ("explainer", "fields", "code", "message"),
    [
        (pb.EXPLAINER_OUTPUT, {"effects_id": EFFECTS_ID}, grpc.StatusCode.UNAVAILABLE, "DRAGOMAN_LLM_URL"),
        (pb.EXPLAINER_OUTPUT, {}, grpc.StatusCode.INVALID_ARGUMENT, "explainer output needs effects_id"),
        (pb.EXPLAINER_GENERIC, {"effects_id": EFFECTS_ID}, grpc.StatusCode.INVALID_ARGUMENT, "take output or ensemble"),
        (pb.EXPLAINER_NLA, {}, grpc.StatusCode.UNAVAILABLE, "DRAGOMAN_LLM_URL"),
        (99, {}, grpc.StatusCode.INVALID_ARGUMENT, "number 99 is not a known Explainer"),
    ],
)
def test_what_cannot_work_is_refused_at_once(
    cluster: Cluster, explainer: Any, fields: dict[str, Any], code: grpc.StatusCode, message: str
) -> None:
    with pytest.raises(grpc.RpcError) as error:
        submit(cluster, explainer, **fields)
    assert error.value.code() == code, error.value.details()
    assert message in error.value.details()
