"""The activation service as it is deployed: its processes, a real NATS server and a real object store."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow.parquet as pq
import pytest
from dragoman.activation.v1 import activation_pb2 as pb
from dragoman.activation.v1 import activation_pb2_grpc
from dragoman.artifacts import Manifest
from dragoman.client import Client
from dragoman.ids import artifact_id
from dragoman.kinds import Part
from google.rpc import error_details_pb2, status_pb2
from latent_cache.token_rows import TokenRows
from safetensors.torch import load
from sparse_coders import TopKCoder, save

from tests.support.cluster import Cluster
from tests.support.jobs import RUNNING, SUCCEEDED, Jobs
from tests.support.tiny import save_tokenizer, text_of, tiny_model

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """NATS, store, one server and one worker that share nothing but those two; the inputs are in the store."""
    root = tmp_path_factory.mktemp("cluster")
    tiny_model("gpt_neox").save_pretrained(root / "model")
    save_tokenizer(root / "tokenizer")
    cluster = Cluster(root / "run")
    try:
        cluster.start_infrastructure()
        objects = cluster.store().objects
        for i in range(10):
            objects.put_bytes(f"texts/{i}.txt", text_of(i, 60 + 20 * i).encode())
        for folder in ("model", "tokenizer"):
            for path in (root / folder).iterdir():
                objects.put_file(f"{folder}/{path.name}", path)
        for role in ("serve", "work"):
            home = {"DRAGOMAN_HOME": str(root / f"home-{role}"), "ACTIVATION_TORCH_THREADS": "1"}
            cluster.service("activation", role, environ=home)
        yield cluster
    finally:
        cluster.stop()


def _stub(cluster: Cluster) -> Any:
    return activation_pb2_grpc.ActivationServiceStub(cluster.channel("activation-serve"))


def _tokens(cluster: Cluster) -> Any:
    spec = pb.TokensSpec(
        source="s3://dragoman/texts", tokenizer="s3://dragoman/tokenizer", ctx_len=32, bos=pb.BOS_POLICY_ALWAYS
    )
    return _stub(cluster).SubmitTokens(pb.SubmitTokensRequest(spec=spec, request_id="tokens"), timeout=120)


@pytest.mark.slow
def test_text_in_the_store_becomes_activations_in_the_store(cluster: Cluster) -> None:
    jobs = Jobs(cluster.channel("activation-serve"), "tokens")
    tokens = _tokens(cluster).job.id
    model = pb.ModelRef(source="s3://dragoman/model")
    spec = pb.ActivationsSpec(tokens_id=tokens, model=model, hookpoints=["layers.1"], split=pb.SPLIT_TRAIN)
    submitted = _stub(cluster).SubmitActivations(pb.SubmitActivationsRequest(spec=spec), timeout=120)
    assert submitted.created
    done = jobs.wait(submitted.job.id, 120)
    assert done.state == SUCCEEDED, f"{done}\n{cluster.log('activation-work')[-3000:]}"
    store = cluster.store()
    rows, artifact = TokenRows(store.artifact(tokens)), store.artifact(done.id)
    shards = [load(artifact.read(p.name)) for p in artifact.manifest.parts if "/shard-" in p.name]
    shard = {name: torch.cat([s[name] for s in shards]) for name in shards[0]}
    ids = torch.from_numpy(rows.tokens(np.arange(rows.train_row_count))).long()
    with torch.no_grad():
        states = tiny_model("gpt_neox")(input_ids=ids, output_hidden_states=True).hidden_states[2]
    expected = states[shard["rows"].long(), shard["positions"].long()]
    torch.testing.assert_close(shard["activations"], expected, atol=1e-5, rtol=1e-4)
    assert len(expected) == artifact.manifest.statistics["token_count"]


def _committed_coder(cluster: Cluster, folder: Path, hookpoint: str, model: Any) -> str:
    """Commits a coder that reconstructs everything, as the trainer would; returns its id."""
    coder = TopKCoder(32, 64, 32)
    with torch.no_grad():
        coder.W_enc.copy_(torch.cat([torch.eye(32), -torch.eye(32)]))
        coder.W_dec.copy_(coder.W_enc)
    save(coder, folder)
    statistics: Any = {"d_model": 32, "d_sae": 64, "k": 32, "hookpoint": hookpoint, "model": model}
    id_ = artifact_id("coder", 1, {"hookpoint": hookpoint})
    store = cluster.store()
    parts = [store.put_part(id_, Part(n, path=folder / n), 0, 0) for n in ("cfg.json", "sae.safetensors")]
    store.commit(Manifest(id_, "coder", 1, {}, {}, parts, statistics))
    return id_


@pytest.mark.slow
def test_coders_are_spliced_into_the_model(cluster: Cluster, tmp_path: Path) -> None:
    jobs = Jobs(cluster.channel("activation-serve"), "fidelity")
    tokens = _tokens(cluster).job.id
    model = pb.ModelRef(source="s3://dragoman/model")
    coders = [
        _committed_coder(cluster, tmp_path / str(layer), f"layers.{layer}", {"weights": "trained"}) for layer in (0, 1)
    ]
    spec = pb.FidelitySpec(tokens_id=tokens, model=model, coder_ids=coders, rows_per_task=5)
    submitted = _stub(cluster).SubmitFidelity(pb.SubmitFidelityRequest(spec=spec), timeout=120)
    done = jobs.wait(submitted.job.id, 120)
    assert done.state == SUCCEEDED, f"{done}\n{cluster.log('activation-work')[-3000:]}"
    artifact = cluster.store().artifact(done.id)
    records = pq.read_table(BytesIO(artifact.read("fidelity.parquet"))).to_pylist()
    assert [record["coder"] for record in records] == coders
    assert [record["hookpoint"] for record in records] == ["gpt_neox.layers.0", "gpt_neox.layers.1"]
    for record in records:
        assert record["kl_coder"] < 1e-6 < record["kl_mean"]
        assert record["fvu"] < 1e-10
    spec.coder_ids.append(tokens)
    with pytest.raises(grpc.RpcError, match=r"coder\.2: .* is a tokens artifact; expected one of kind coder"):
        _stub(cluster).SubmitFidelity(pb.SubmitFidelityRequest(spec=spec), timeout=120)


@pytest.mark.slow
def test_fidelity_survives_its_workers_death(cluster: Cluster, tmp_path: Path) -> None:
    jobs = Jobs(cluster.channel("activation-serve"), "fidelity")
    tokens = _tokens(cluster).job.id
    coder = _committed_coder(cluster, tmp_path / "coder", "layers.2", {"weights": "trained"})
    tables: list[Any] = []
    for rows_per_task, killed in ((1, True), (2, False)):
        spec = pb.FidelitySpec(
            tokens_id=tokens, model=pb.ModelRef(source="s3://dragoman/model"), coder_ids=[coder],
            split=pb.SPLIT_ALL, rows_per_task=rows_per_task, batch_size=1,
        )  # fmt: skip
        job = _stub(cluster).SubmitFidelity(pb.SubmitFidelityRequest(spec=spec), timeout=120).job
        if killed:
            jobs.until_done(job.id)
            cluster.restart("activation-work", away=0.2)
            assert jobs.get(job.id).state == RUNNING, "it ended before its worker died"
        done = jobs.wait(job.id, 120)
        assert done.state == SUCCEEDED, f"{done}\n{cluster.log('activation-work')[-3000:]}"
        tables.append(pq.read_table(BytesIO(cluster.store().artifact(done.id).read("rows.parquet"))))
    disturbed, quiet = tables
    assert disturbed.num_rows == quiet.num_rows > 20
    assert disturbed.column("row").to_pylist() == quiet.column("row").to_pylist()
    for name in disturbed.column_names:
        np.testing.assert_allclose(disturbed.column(name), quiet.column(name), rtol=1e-6, atol=1e-9, err_msg=name)


def _latents(cluster: Cluster, folder: Path) -> str:
    """Commits latents of a coder that fires on every token; returns their id."""
    coder = _committed_coder(cluster, folder, "layers.2", {"weights": "trained"})
    spec = pb.LatentsSpec(
        tokens_id=_tokens(cluster).job.id,
        model=pb.ModelRef(source="s3://dragoman/model"),
        coder_id=coder,
        window_length=8,
        neighbours=3,
    )
    job = _stub(cluster).SubmitLatents(pb.SubmitLatentsRequest(spec=spec), timeout=120).job
    done = Jobs(cluster.channel("activation-serve"), "latents").wait(job.id, 120)
    assert done.state == SUCCEEDED, f"{done}\n{cluster.log('activation-work')[-3000:]}"
    return done.id


@pytest.mark.slow
def test_effects_survive_their_workers_death(cluster: Cluster, tmp_path: Path) -> None:
    jobs = Jobs(cluster.channel("activation-serve"), "effects")
    latents = _latents(cluster, tmp_path / "coder")
    assert cluster.store().artifact(latents).read("neighbours.parquet")
    spec = pb.EffectsSpec(
        latents_id=latents,
        selection=pb.LatentChoice(count=8),
        strengths=[0.5, 2.0],
        prompt_count=8,
        prompt_tokens=8,
        new_tokens=2,
        latents_per_task=1,
    )
    sums: list[dict[str, str]] = []
    with Client({"activation": f"127.0.0.1:{cluster.ports['activation-serve']}"}) as client:
        for killed in (True, False):
            job = _stub(cluster).SubmitEffects(pb.SubmitEffectsRequest(spec=spec), timeout=120).job
            if killed:
                jobs.until_done(job.id)
                cluster.restart("activation-work", away=0.2)
                assert jobs.get(job.id).state == RUNNING, "it ended before its worker died"
            done = jobs.wait(job.id, 120)
            assert done.state == SUCCEEDED, f"{done}\n{cluster.log('activation-work')[-3000:]}"
            artifact = cluster.store().artifact(done.id)
            assert pq.read_table(BytesIO(artifact.read("effects.parquet"))).num_rows == 8 * 2
            sums.append({part.name: part.sha256 for part in artifact.manifest.parts})
            client.delete_artifact(done.id)
    assert sums[0] == sums[1]


@pytest.mark.slow
def test_the_server_never_loads_torch(cluster: Cluster) -> None:
    _tokens(cluster)
    maps = Path(f"/proc/{cluster.processes['activation-serve'].pid}/maps").read_text()
    assert "libtorch" not in maps
    assert "python" in maps


@pytest.mark.slow
def test_a_wrong_hookpoint_is_refused_with_the_field_and_the_nearest_names(cluster: Cluster) -> None:
    spec = pb.ActivationsSpec(
        tokens_id=_tokens(cluster).job.id, model=pb.ModelRef(source="s3://dragoman/model"), hookpoints=["layer.1"]
    )
    with pytest.raises(grpc.RpcError) as caught:
        _stub(cluster).SubmitActivations(pb.SubmitActivationsRequest(spec=spec), timeout=120)
    error: Any = caught.value
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    found = error_details_pb2.BadRequest()
    assert any(detail.Unpack(found) for detail in status.details)
    assert found.field_violations[0].field == "hookpoints[0]"
    assert (
        "GPTNeoXForCausalLM has no hookpoint 'layer.1'; the nearest are layers.1"
        in found.field_violations[0].description
    )


@pytest.mark.slow
def test_an_empty_prefix_of_the_store_is_refused(cluster: Cluster) -> None:
    spec = pb.TokensSpec(source="s3://dragoman/nothing/here", tokenizer="s3://dragoman/tokenizer")
    with pytest.raises(grpc.RpcError, match="there is no object at s3://dragoman/nothing/here"):
        _stub(cluster).SubmitTokens(pb.SubmitTokensRequest(spec=spec), timeout=120)
    spec.source = "s3://elsewhere/texts"
    with pytest.raises(grpc.RpcError, match="this server reads only its own bucket 'dragoman'"):
        _stub(cluster).SubmitTokens(pb.SubmitTokensRequest(spec=spec), timeout=120)
