"""The trainer as it is deployed: its processes, a real NATS server and a real object store."""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy
import pytest
from dragoman import pipeline
from dragoman.activation.v1.activation_pb2 import ModelRef
from dragoman.artifacts import Manifest
from dragoman.client import Addresses, Client
from dragoman.folder import FolderArtifact
from dragoman.ids import Json
from dragoman.job.v1.job_service_pb2 import ListJobsRequest
from dragoman.kinds import AnyKind, Part
from dragoman.training.v1 import training_pb2 as pb
from dragoman.training.v1 import training_pb2_grpc

from tests.support.cluster import Cluster
from tests.support.jobs import RUNNING, SUCCEEDED, Jobs
from tests.support.local_run import run_local

torch = pytest.importorskip("torch")

import sparse_coders  # noqa: E402
from sae_trainer.coder_kind import CoderKind  # noqa: E402
from sae_trainer.coders_kind import CodersKind  # noqa: E402
from sae_trainer.config import Config  # noqa: E402
from sae_trainer.model_host import host_of  # noqa: E402

from tests.support.tiny import VOCAB, tiny_model  # noqa: E402
from tests.unit.sae_trainer.activations_folder import HOOKPOINT, OUTPUT, write_activations  # noqa: E402
from tests.unit.sae_trainer.tokens_folder import CTX_LEN, write_tokens  # noqa: E402
from tests.unit.sparse_coders.planted import planted_activations  # noqa: E402

SAELENS = Path(__file__).parents[1] / "unit" / "sparse_coders" / "saelens" / "jumprelu"
ONE_THREAD = {"SAE_TRAINER_TORCH_THREADS": "1", "OMP_NUM_THREADS": "1"}
FIELDS: Mapping[str, Any] = {
    "d_sae": 96,
    "k": 3,
    "batch_tokens": 100,
    "epochs": 50.0,
    "learning_rate": 3e-3,
    "checkpoint_steps": 50,
}
SWEPT: Mapping[str, Any] = {
    "hookpoint": HOOKPOINT,
    "output_hookpoint": OUTPUT,
    "d_sae": 64,
    "batch_tokens": 100,
    "epochs": 40.0,
    "learning_rate": 3e-3,
    "checkpoint_steps": 40,
}


STREAMED_RUN: Mapping[str, Any] = {
    "hookpoint": "layers.1",
    "d_sae": 64,
    "batch_tokens": 100,
    "epochs": 10.0,
    "learning_rate": 3e-3,
    "checkpoint_steps": 15,
}

STREAMED = pb.StreamedActivations(tokens_id="tokens-" + "0" * 32, model=ModelRef(source="/nowhere"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """NATS, store, one server and one worker of the trainer."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start_infrastructure()
        for role in ("serve", "work"):
            cluster.service("sae_trainer", role, environ=ONE_THREAD)
        yield cluster
    finally:
        cluster.stop()


def put(cluster: Cluster, source: FolderArtifact) -> FolderArtifact:
    """Commits a folder's artifact to the cluster's store."""
    store, manifest = cluster.store(), source.manifest
    parts = [
        store.put_part(source.id, Part(p.name, source.path / p.name, row_count=p.row_count, metadata=p.metadata), 0, 0)
        for p in manifest.parts
    ]
    spec: Mapping[str, Json] = manifest.spec
    store.commit(Manifest(source.id, manifest.kind, 1, spec, {}, parts, manifest.statistics))
    return source


def stub(cluster: Cluster) -> Any:
    return training_pb2_grpc.TrainingServiceStub(cluster.channel("sae_trainer-serve"))


def local(cluster: Cluster) -> Config:
    """Settings of the worker, for undisturbed runs in this process."""
    return Config(1, "cpu", 2**31, cache=cluster.root / "home" / "activation")


def assert_undisturbed(
    cluster: Cluster, job_id: str, kind: AnyKind, inputs: Mapping[str, FolderArtifact], folder: Path
) -> None:
    """What is in the store is what an undisturbed run makes: the same bytes, the same statistics."""
    stored = cluster.store().artifact(job_id).manifest
    made = run_local(kind, kind.spec.model_validate(stored.spec), inputs, folder).manifest
    assert made.id == job_id
    assert [(part.name, part.sha256) for part in stored.parts] == [(part.name, part.sha256) for part in made.parts]
    assert stored.statistics == made.statistics


def until_two_checkpoints(cluster: Cluster, job_id: str) -> None:
    """Returns when a task has left two checkpoints, and the pointer to both."""
    deadline = time.monotonic() + 60
    while len(cluster.store().objects.list(f"checkpoints/{job_id}/")) < 3:
        assert time.monotonic() < deadline, f"{job_id} leaves no checkpoints"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_coder_survives_the_death_of_its_worker_and_of_a_checkpoint_and_is_evaluated(
    cluster: Cluster, tmp_path: Path
) -> None:
    train = put(cluster, write_activations(tmp_path / "train", planted_activations(3000, 32, 48, 3).split(1500)))
    x = planted_activations(1000, 32, 48, 3, seed=1)
    test = put(cluster, write_activations(tmp_path / "test", [x], split="test", first_row=300))
    jobs = Jobs(cluster.channel("sae_trainer-serve"), "coder")
    request = pb.SubmitCoderRequest(spec=pb.CoderSpec(activations_id=train.id, **FIELDS), request_id="one")
    coder = stub(cluster).SubmitCoder(request, timeout=60).job
    evaluation = pb.EvaluationSpec(coder_id=coder.id, activations_id=test.id)
    measured = stub(cluster).SubmitEvaluation(pb.SubmitEvaluationRequest(spec=evaluation), timeout=60).job
    until_two_checkpoints(cluster, coder.id)
    cluster.kill("sae_trainer-work")
    assert jobs.get(coder.id).state == RUNNING
    objects = cluster.store().objects
    newest = json.loads(objects.get_bytes(f"checkpoints/{coder.id}/0-0.json") or b"")["key"]
    objects.put_bytes(newest, b"damaged")
    cluster.start("sae_trainer-work")
    done = jobs.wait(coder.id, 180)
    log = cluster.log("sae_trainer-work")
    assert done.state == SUCCEEDED, f"{done}\n{log[-3000:]}"
    assert f"a checkpoint of {coder.id} 0-0 is damaged or gone; the one before it is tried" in log
    again = stub(cluster).SubmitCoder(request, timeout=60)
    assert (again.job.id, again.created) == (coder.id, False)
    assert_undisturbed(cluster, coder.id, CoderKind(local(cluster)), {"activations": train}, tmp_path / "local")

    assert jobs.wait(measured.id, 120).state == SUCCEEDED, cluster.log("sae_trainer-work")[-3000:]
    statistics = cluster.store().artifact(measured.id).manifest.statistics
    assert 0 < float(str(statistics["fvu"])) < 0.4
    assert (statistics["token_count"], statistics["document_overlap_count"]) == (1000, 0)


def descendants(pid: int) -> set[int]:
    """Processes that a process has started, and those that these have."""
    found = {int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()}
    return found.union(*(descendants(child) for child in found))


def transcoded(cluster: Cluster, folder: Path) -> FolderArtifact:
    """Activations of two hookpoints in the cluster's store."""
    x = planted_activations(2000, 16, 24, 3)
    return put(cluster, write_activations(folder, x.split(1000), targets=(x @ x[:16].T).split(1000)))


@pytest.mark.slow
def test_a_sweep_whose_worker_is_killed_at_random_moments(cluster: Cluster, tmp_path: Path) -> None:
    source = transcoded(cluster, tmp_path / "a")
    spec = pb.SweepSpec(base=pb.CoderSpec(activations_id=source.id, **SWEPT), ks=[3])
    spec.architectures.extend([pb.ARCHITECTURE_TOPK, pb.ARCHITECTURE_JUMPRELU])
    request = pb.SubmitSweepRequest(spec=spec, request_id="sweep")
    swept = stub(cluster).SubmitSweep(request, timeout=60).coders
    assert [one.label for one in swept] == ["architecture=topk k=3", "architecture=jumprelu target_l0=3"]
    assert [one.created for one in swept] == [True, True]
    jobs = Jobs(cluster.channel("sae_trainer-serve"), "coder")
    for pause in numpy.random.default_rng().uniform(0, 2, 3):
        jobs.until_running(swept[0].job.id)
        time.sleep(pause)
        cluster.restart("sae_trainer-work")
    for one in swept:
        done = jobs.wait(one.job.id, 180)
        assert done.state == SUCCEEDED, f"{done}\n{cluster.log('sae_trainer-work')[-3000:]}"
        kind = CoderKind(local(cluster))
        assert_undisturbed(cluster, one.job.id, kind, {"activations": source}, tmp_path / one.label)
    again = stub(cluster).SubmitSweep(request, timeout=60).coders
    assert [(one.job.id, one.created) for one in again] == [(one.job.id, False) for one in swept]


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.timeout(900)
def test_two_processes_and_coders_of_one_pass_killed_at_random_moments(cluster: Cluster, tmp_path: Path) -> None:
    """Neither leaves a process behind, and both end in the bytes of a run that nobody disturbed."""
    source = transcoded(cluster, tmp_path / "a")
    tokens = put(cluster, write_tokens(tmp_path / "tokens", VOCAB))
    tiny_model("llama").save_pretrained(tmp_path / "model")
    model = ModelRef(source=str(tmp_path / "model"))
    stream = pb.StreamedActivations(tokens_id=tokens.id, model=model, batch_size=1, shuffle_tokens=16 * (CTX_LEN - 1))
    common: dict[str, Any] = {**STREAMED_RUN, "streamed": stream}
    several = [pb.CoderSpec(k=3, **common), pb.CoderSpec(architecture=pb.ARCHITECTURE_JUMPRELU, target_l0=3, **common)]
    ranked = pb.CoderSpec(activations_id=source.id, **SWEPT, k=3, ranks=2)
    coder = stub(cluster).SubmitCoder(pb.SubmitCoderRequest(spec=ranked), timeout=60).job.id
    together = pb.SubmitCodersRequest(spec=pb.CodersSpec(coders=several))
    coders = stub(cluster).SubmitCoders(together, timeout=240).job.id  # the model is described first
    jobs, killed = Jobs(cluster.channel("sae_trainer-serve"), "coder"), set[int]()
    for job_id in (coder, coders):
        jobs.until_running(job_id)
        time.sleep(numpy.random.default_rng().uniform(0, 2))
        killed |= descendants(cluster.processes["sae_trainer-work"].pid)
        cluster.restart("sae_trainer-work")
    for job_id in (coder, coders):
        done = jobs.wait(job_id, 300)
        assert done.state == SUCCEEDED, f"{done}\n{cluster.log('sae_trainer-work')[-3000:]}"
    assert not [pid for pid in killed if Path(f"/proc/{pid}").exists()], "a killed worker left processes"
    settings = local(cluster)
    assert_undisturbed(cluster, coder, CoderKind(settings), {"activations": source}, tmp_path / "coder")
    kind = CodersKind(settings, host_of(settings, None))
    assert_undisturbed(cluster, coders, kind, {"tokens": tokens}, tmp_path / "coders")


@pytest.mark.slow
def test_a_sweep_with_one_wrong_combination_submits_none(cluster: Cluster, tmp_path: Path) -> None:
    source = put(cluster, write_activations(tmp_path / "a", [planted_activations(60, 32, 48, 3)]))
    spec = pb.SweepSpec(base=pb.CoderSpec(activations_id=source.id, d_sae=64, batch_tokens=10), ks=[4, 65])
    with pytest.raises(grpc.RpcError, match=r"base \(k=65\).*only 64 latents") as caught:
        stub(cluster).SubmitSweep(pb.SubmitSweepRequest(spec=spec), timeout=60)
    error: Any = caught.value
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    listed = Jobs(cluster.channel("sae_trainer-serve"), "coder").stub.ListJobs(ListJobsRequest(kinds=["coder"]))
    assert not [job.id for job in listed.jobs if source.id in str(job)]


@pytest.mark.slow
def test_a_pipeline_holds_a_sweep(cluster: Cluster, tmp_path: Path) -> None:
    source = put(cluster, write_activations(tmp_path / "a", [planted_activations(60, 16, 24, 3)]))
    base = f"{{activations_id: {source.id}, d_sae: 32, batch_tokens: 10}}"
    text = f"jobs:\n  coders:\n    kind: sweep\n    spec: {{base: {base}, architectures: [topk, random], ks: [3]}}"
    with Client(Addresses({"sae-trainer": f"127.0.0.1:{cluster.ports['sae_trainer-serve']}"})) as client:
        jobs = client.submit_pipeline(pipeline.parse(text))
        assert list(jobs) == ["coders[architecture=topk k=3]", "coders[architecture=random k=3]"]
        for job in jobs.values():
            assert client.wait(job.id, 120).state == "SUCCEEDED"
        baselines = [cluster.store().artifact(job.id).manifest.statistics["baseline"] for job in jobs.values()]
    assert baselines == [None, "random"]


@pytest.mark.slow
def test_a_coder_of_saelens_is_imported_from_the_store_and_evaluated(cluster: Cluster, tmp_path: Path) -> None:
    store, prefix = cluster.store(), "coders/jumprelu"
    for name in ("cfg.json", "sae_weights.safetensors"):
        store.objects.put_bytes(f"{prefix}/{name}", (SAELENS / name).read_bytes())
    imported = pb.ImportedCoder(
        source=f"s3://{store.config.bucket}/{prefix}", model=ModelRef(source="me/tiny"), hookpoint="layers.9"
    )
    job = stub(cluster).SubmitCoder(pb.SubmitCoderRequest(spec=pb.CoderSpec(imported=imported)), timeout=60).job
    x = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    source = put(cluster, write_activations(tmp_path / "a", [x], split="test"))
    spec = pb.EvaluationSpec(coder_id=job.id, activations_id=source.id)
    measured = stub(cluster).SubmitEvaluation(pb.SubmitEvaluationRequest(spec=spec), timeout=60).job
    jobs = Jobs(cluster.channel("sae_trainer-serve"), "coder")
    assert jobs.wait(job.id, 120).state == SUCCEEDED, cluster.log("sae_trainer-work")[-3000:]
    artifact = store.artifact(job.id)
    statistics = artifact.manifest.statistics
    assert (statistics["architecture"], statistics["d_sae"], statistics["k"]) == ("jumprelu", 16, None)
    assert (statistics["hookpoint"], statistics["output_hookpoint"]) == ("layers.9", "layers.9")
    for name in ("cfg.json", "sae.safetensors"):
        (tmp_path / name).write_bytes(artifact.read(name))
    coder = sparse_coders.load(tmp_path)
    assert torch.equal(coder(x), sparse_coders.load(SAELENS)(x))
    assert jobs.wait(measured.id, 120).state == SUCCEEDED, cluster.log("sae_trainer-work")[-3000:]
    figures = store.artifact(measured.id).manifest.statistics
    error, exact = (coder(x) - x).double(), x.double()
    fvu = float((error.square().sum() / (exact - exact.mean(0)).square().sum()).detach())
    assert figures["fvu"] == pytest.approx(fvu, rel=1e-5)
    assert "document_overlap_count" not in figures


@pytest.mark.slow
def test_the_server_never_loads_torch(cluster: Cluster) -> None:
    cluster.channel("sae_trainer-serve")
    maps = Path(f"/proc/{cluster.processes['sae_trainer-serve'].pid}/maps").read_text()
    assert "libtorch" not in maps
    assert "python" in maps


@pytest.mark.slow
def test_a_wrong_spec_is_refused_at_submit(cluster: Cluster, tmp_path: Path) -> None:
    source = put(cluster, write_activations(tmp_path / "a", [planted_activations(50, 32, 48, 3)]))
    imported = pb.ImportedCoder(source=str(tmp_path), model=ModelRef(source="me/tiny"), hookpoint="layers.9")
    cases = {
        "fewer than one batch of 2048": pb.CoderSpec(activations_id=source.id),
        "are both given": pb.CoderSpec(activations_id=source.id, d_sae=64, expansion_factor=2),
        "did you mean": pb.CoderSpec(activations_id=source.id, hookpoint="layer.9", batch_tokens=10),
        "only 4 latents": pb.CoderSpec(activations_id=source.id, d_sae=4, batch_tokens=10),
        "activations_id is empty": pb.CoderSpec(),
        "not for a coder that is imported": pb.CoderSpec(d_sae=4, imported=imported),
        "expected cfg.json and sae.safetensors": pb.CoderSpec(imported=imported),
        "hookpoint is empty": pb.CoderSpec(streamed=STREAMED),
        "not for a coder that is taken": pb.CoderSpec(d_sae=4, taken=pb.TakenCoder(coders_id="coders-0")),
    }
    for message, spec in cases.items():
        with pytest.raises(grpc.RpcError, match=message) as caught:
            stub(cluster).SubmitCoder(pb.SubmitCoderRequest(spec=spec), timeout=60)
        error: Any = caught.value
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    together = pb.CodersSpec(coders=[pb.CoderSpec(streamed=STREAMED, hookpoint="layers.9"), pb.CoderSpec()])
    with pytest.raises(grpc.RpcError, match="activations_id is empty"):
        stub(cluster).SubmitCoders(pb.SubmitCodersRequest(spec=together), timeout=60)
