"""Every input that can be wrong gets a clear, typed error before any work starts."""

from pathlib import Path
from typing import Any

import pytest
from dragoman.client import Client
from dragoman.errors import AlreadyExists, DragomanError, InvalidSpec, NotFound, Unavailable
from dragoman.jobs import JobState

from tests.e2e.conftest import Pipeline
from tests.e2e.world import World
from tests.support.cluster import Cluster, free_port

MISSING = "0" * 32


def refused(client: Client, kind: str, spec: dict[str, Any]) -> DragomanError:
    """Submits a job that must be refused, and returns why. No job may be left behind."""
    before = {job.id for job in client.list(limit=500)}
    with pytest.raises(DragomanError) as caught:
        client.submit(kind, spec)
    assert {job.id for job in client.list(limit=500)} == before, "a refused job was recorded"
    return caught.value


def test_unknown_model(world: World, client: Client, pipeline: Pipeline) -> None:
    spec = world.activations("trained", pipeline.tokens, "train", model={"source": "/no/such/model"})
    error = refused(client, "activations", spec)
    assert isinstance(error, NotFound | InvalidSpec)
    assert "/no/such/model" in error.message


def test_unknown_file(world: World, client: Client) -> None:
    error = refused(client, "tokens", world.tokens(source="/no/such/corpus.txt"))
    assert "/no/such/corpus.txt" in error.message


def test_unknown_artifact(world: World, client: Client) -> None:
    error = refused(client, "coder", world.coder(f"activations-{MISSING}"))
    assert isinstance(error, NotFound)
    assert f"activations-{MISSING}" in error.message
    assert "submit the job that makes it first" in error.message


def test_unknown_hookpoint_names_the_nearest(world: World, client: Client, pipeline: Pipeline) -> None:
    spec = world.activations("trained", pipeline.tokens, "train", hookpoints=["layers.1.mpl"])
    error = refused(client, "activations", spec)
    assert isinstance(error, InvalidSpec)
    assert "layers.1.mlp" in error.message


def test_input_of_the_wrong_kind(world: World, client: Client, pipeline: Pipeline) -> None:
    error = refused(client, "coder", world.coder(pipeline.tokens))
    assert isinstance(error, InvalidSpec)
    assert "is a tokens artifact; expected one of kind activations" in error.message


def test_more_active_latents_than_there_are(world: World, client: Client, pipeline: Pipeline) -> None:
    error = refused(client, "coder", world.coder(pipeline.sides["trained"]["train"], d_sae=64, k=65))
    assert isinstance(error, InvalidSpec)
    assert "65" in error.message
    assert "64" in error.message


def test_zero_documents(world: World, client: Client, tmp_path: Path) -> None:
    error = refused(client, "tokens", world.tokens(source=str(tmp_path)))
    assert "document" in error.message or "no file" in error.message.lower()
    assert str(tmp_path) in error.message


def test_a_corpus_that_is_not_utf8(world: World, client: Client, tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("Ein Stück Text, über das man reden muß.".encode("latin-1"))
    error = refused(client, "tokens", world.tokens(source=str(tmp_path)))
    assert "latin.txt" in error.message
    assert "UTF-8" in error.message


def test_a_context_longer_than_the_models(world: World, client: Client) -> None:
    error = refused(client, "tokens", world.tokens(ctx_len=1_000_000))
    assert "1000000" in error.message.replace(",", "")
    assert "8192" in error.message.replace(",", "") or "2048" in error.message.replace(",", "")


def test_a_coder_of_another_model_variant(world: World, client: Client, pipeline: Pipeline) -> None:
    spec = world.latents("control", pipeline.tokens, pipeline.sides["trained"]["coder"])
    error = refused(client, "latents", spec)
    assert isinstance(error, InvalidSpec)
    assert "rerandomized_incl_emb" in error.message
    assert "trained" in error.message


def test_a_dtype_that_does_not_match(world: World, client: Client, pipeline: Pipeline) -> None:
    spec = world.latents("trained", pipeline.tokens, pipeline.sides["trained"]["coder"])
    spec["model"] = {**spec["model"], "dtype": "bfloat16"}
    error = refused(client, "latents", spec)
    assert "bfloat16" in error.message
    assert "float32" in error.message


def test_unknown_fields_name_the_nearest(world: World, client: Client) -> None:
    spec = world.tokens()
    spec["ctx_length"] = 64
    error = refused(client, "tokens", spec)
    assert isinstance(error, InvalidSpec)
    assert "ctx_length" in error.message
    assert "ctx_len" in error.message


def test_an_id_that_is_not_ours(world: World, client: Client) -> None:
    error = refused(client, "coder", world.coder("../../etc/passwd"))
    assert isinstance(error, InvalidSpec)
    assert "is not an artifact id" in error.message
    with pytest.raises(DragomanError, match="is not an artifact id"):
        client.get("nonsense")


def test_an_unknown_kind_and_an_unknown_job(client: Client) -> None:
    with pytest.raises(DragomanError, match="latent"):
        client.submit("latent", {})
    with pytest.raises(NotFound, match="there is no job"):
        client.get(f"tokens-{MISSING}")


def test_a_request_id_with_another_spec(world: World, client: Client, pipeline: Pipeline) -> None:
    first = client.submit("tokens", world.tokens(), request_id="bad-input-1")
    assert first.id == pipeline.tokens
    with pytest.raises(AlreadyExists, match=pipeline.tokens):
        client.submit("tokens", world.tokens(seed=7), request_id="bad-input-1")


def test_an_unreachable_language_model(cluster: Cluster, world: World, pipeline: Pipeline) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    environ = {**world.environ, "DRAGOMAN_LLM_URL": nobody}
    name = cluster.service("explainer", "serve", name="explainer-without-llm", environ=environ)
    try:
        from dragoman.client import Addresses

        with Client(Addresses({"explainer": f"127.0.0.1:{cluster.ports[name]}"})) as lonely:
            cluster.channel(name).close()
            with pytest.raises(Unavailable) as caught:
                lonely.submit("explanations", world.explanations(pipeline.sides["trained"]["latents"], seed=99))
            assert nobody.removeprefix("http://") in caught.value.message
            assert "DRAGOMAN_LLM_URL" in caught.value.message
    finally:
        cluster.kill(name)


def test_a_wrong_input_of_a_job_that_is_not_done_yet(world: World, client: Client, pipeline: Pipeline) -> None:
    """What can be known from the spec of an input is refused at submit, though the input is not computed yet."""
    pending = client.submit("activations", world.activations("trained", pipeline.tokens, "train", max_tokens=6336))
    try:
        error = refused(client, "coder", world.coder(pending.id, hookpoint="layers.9"))
        assert "layers.9" in error.message
        assert "layers.1" in error.message
    finally:
        if client.get(pending.id).state is not JobState.SUCCEEDED:
            client.cancel(pending.id)
