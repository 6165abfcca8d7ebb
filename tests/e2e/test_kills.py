"""A worker is killed in the middle of every kind of task; the results are those of a quiet run, byte for byte."""

import time

import pytest
from dragoman.client import Client
from dragoman.jobs import EventType

from tests.e2e.conftest import Pipeline
from tests.e2e.world import World, scorecard


@pytest.fixture(scope="module")
def rough(world: World, pipeline: Pipeline) -> World:
    """A second world on the same cluster, whose language model answers what it answered in the first.

    An engine's floats depend on what else it computes at the time. The response cache, which exists so that a
    resumed job pays nothing twice, takes that out of the comparison: what is compared is our own doing.
    """
    rough = World("rough", world.cluster, world.engine, world.model, world.corpus)
    target, source = rough.store(), world.store()
    target.probe()
    for item in source.objects.list("llm-cache/"):
        data = source.objects.get_bytes(item.key)
        assert data is not None
        target.objects.put_bytes(item.key, data)
    return rough.start()


def disturbed(world: World, client: Client, kind: str, spec: dict[str, object], also: str = "") -> str:
    """Runs a job and kills its worker once it works on the job, and NATS or the store with it."""
    job = client.submit(kind, spec)
    killed = False
    for event in client.watch([job.id]):
        if not killed and event.type in {EventType.STARTED, EventType.PROGRESS}:
            time.sleep(0.5)
            world.cluster.restart(world.worker_of(kind), away=0.2)
            if also:
                time.sleep(2.0)
                world.cluster.restart(also, away=1.0)
            killed = True
    assert killed, f"{kind} ended before it could be disturbed"
    done = client.wait(job.id, 120)
    assert done.state == "SUCCEEDED", f"{kind} is {done.state}: {done.failure}"
    return job.id


def assert_same(calm: World, rough: World, artifact_id: str) -> None:
    """Both worlds committed the same bytes under the same names, each once."""
    first, second = calm.store().artifact(artifact_id).manifest, rough.store().artifact(artifact_id).manifest
    assert [(p.name, p.sha256) for p in first.parts] == [(p.name, p.sha256) for p in second.parts]
    assert first.statistics == second.statistics
    assert len({part.name for part in second.parts}) == len(second.parts)


def test_every_kind_survives_its_workers_death(world: World, rough: World, pipeline: Pipeline) -> None:
    side = pipeline.sides["trained"]
    also = {side["train"]: "nats", side["latents"]: "store"}
    with rough.client() as client:
        tokens = disturbed(rough, client, "tokens", rough.tokens())
        steps = [
            (side["train"], "activations", rough.activations("trained", tokens, "train")),
            (side["test"], "activations", rough.activations("trained", tokens, "test")),
            (side["coder"], "coder", rough.coder(side["train"])),
            (side["evaluation"], "evaluation", {"coder_id": side["coder"], "activations_id": side["test"]}),
            (side["latents"], "latents", rough.latents("trained", tokens, side["coder"])),
            (side["explanations"], "explanations", rough.explanations(side["latents"])),
            (side["detection"], "scores", rough.scores(side["explanations"], side["latents"], "detection")),
            (side["fuzzing"], "scores", rough.scores(side["explanations"], side["latents"], "fuzzing")),
        ]
        assert tokens == pipeline.tokens
        assert_same(world, rough, tokens)
        for expected, kind, spec in steps:
            assert disturbed(rough, client, kind, spec, also.get(expected, "")) == expected, (
                f"{kind} has another identity"
            )
            assert_same(world, rough, expected)


def test_the_scorecard_survives_too(world: World, rough: World, pipeline: Pipeline) -> None:
    """Its inputs are brought over as they are: the control side need not be computed again."""
    source, target = world.store().objects, rough.store().objects
    for artifact_id in pipeline.sides["control"].values():
        prefix = f"artifacts/{artifact_id.split('-')[0]}/{artifact_id}/"
        keys = [item.key for item in source.list(prefix)]
        for key in sorted(keys, key=lambda k: k.endswith("manifest.json")):
            data = source.get_bytes(key)
            assert data is not None
            target.put_bytes(key, data)
    with rough.client() as client:
        assert disturbed(rough, client, "scorecard", scorecard(pipeline.sides)) == pipeline.scorecard
    assert_same(world, rough, pipeline.scorecard)


def test_cancel_frees_training_and_the_language_model(world: World, client: Client, pipeline: Pipeline) -> None:
    side = pipeline.sides["trained"]
    long = {
        "coder": world.coder(side["train"], epochs=500.0),
        "explanations": world.explanations(side["latents"], selection={"count": 40}, llm={"max_tokens": 500}),
    }
    for kind, spec in long.items():
        job = client.submit(kind, spec)
        for event in client.watch([job.id]):
            if event.type is EventType.PROGRESS and event.progress is not None and event.progress.unit:
                break
        started = time.monotonic()
        client.cancel(job.id)
        ended = client.wait(job.id, 15)
        assert ended.state == "CANCELLED", f"{kind} is {ended.state}"
        assert time.monotonic() - started < 10, f"{kind} took {time.monotonic() - started:.1f} s to stop"
        assert world.store().manifest(job.id) is None
