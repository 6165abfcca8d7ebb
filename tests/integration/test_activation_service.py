"""The activation service as it is deployed: its processes, a real NATS server and a real object store."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from dragoman.activation.v1 import activation_pb2 as pb
from dragoman.activation.v1 import activation_pb2_grpc
from google.rpc import error_details_pb2, status_pb2
from latent_cache.token_rows import TokenRows
from safetensors.torch import load

from tests.support.cluster import Cluster
from tests.support.jobs import SUCCEEDED, Jobs
from tests.unit.activation.tiny import save_tokenizer, text_of, tiny_model

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
    shard = load(artifact.read("gpt_neox.layers.1/shard-00000.safetensors"))
    ids = torch.from_numpy(rows.tokens(np.arange(rows.train_row_count))).long()
    with torch.no_grad():
        states = tiny_model("gpt_neox")(input_ids=ids, output_hidden_states=True).hidden_states[2]
    expected = states[shard["rows"].long(), shard["positions"].long()]
    torch.testing.assert_close(shard["activations"], expected, atol=1e-5, rtol=1e-4)
    assert len(expected) == artifact.manifest.statistics["token_count"]


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
