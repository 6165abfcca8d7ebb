"""The client over real connections: what it retries, resumes, verifies and says. The servers are real, jobs are not."""

import asyncio
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from dragoman import pipeline
from dragoman.activation.v1 import activation_pb2
from dragoman.client import Addresses, AsyncClient, Client, JobState
from dragoman.errors import (
    DataLoss,
    DragomanError,
    FailedPrecondition,
    InvalidSpec,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from dragoman.folder import FolderArtifact
from dragoman.jobs import EventType, JobEvent
from dragoman.principals import Principals
from dragoman.rpc.server import RunningServer, TlsConfig

from tests.support.memory_services import Services, services

UNKNOWN = "tokens-" + "0" * 32


@pytest.fixture
def running() -> Generator[Services]:
    with services() as made:
        yield made


@pytest.fixture
def client(running: Services) -> Generator[Client]:
    with Client(running.addresses, patience=15) as made:
        yield made


def tell(running: Services, job_id: str, type_: EventType, state: JobState | None = None) -> None:
    running.run(running.desk.tell(job_id, type_, state))


def restart(running: Services, number: int, **settings: Any) -> RunningServer:
    old = running.servers[number]
    running.run(old.stop())
    running.servers[number] = running.start(old.address, **settings)
    return running.servers[number]


def later(seconds: float, do: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=lambda: (time.sleep(seconds), do()))
    thread.start()
    return thread


def test_submit_takes_plain_python_and_typed_messages(client: Client) -> None:
    job = client.submit("tokens", {"source": "x", "tokenizer": "t", "format": "jsonl"})
    assert (job.kind, job.state, job.spec["format"]) == ("tokens", JobState.QUEUED, "jsonl")
    typed = activation_pb2.TokensSpec(source="x", tokenizer="t", format=activation_pb2.TEXT_FORMAT_JSONL)
    assert client.submit("tokens", typed).id == job.id
    with pytest.raises(InvalidSpec, match="takes a CoderSpec, not a TokensSpec"):
        client.submit("coder", typed)
    with pytest.raises(InvalidSpec, match="'tokns' is not a kind of job; did you mean 'tokens'"):
        client.submit("tokns", {})
    with pytest.raises(InvalidSpec, match=r"sorce: TokensSpec has no field 'sorce'; did you mean 'source'\?"):
        client.submit("tokens", {"sorce": "x"})


def test_errors_keep_their_type(client: Client, running: Services) -> None:
    with pytest.raises(NotFound, match="no job"):
        client.get(UNKNOWN)
    with pytest.raises(InvalidSpec, match="is not an artifact id"):
        client.cancel("nonsense")
    running.desk.error = FailedPrecondition("the disk is full", reason="DISK")
    with pytest.raises(FailedPrecondition, match="the disk is full") as caught:
        client.submit("tokens", {})
    assert caught.value.reason == "DISK"


def test_lists_over_pages_and_filters(client: Client) -> None:
    made = [client.submit("tokens", {"seed": n + 1}).id for n in range(230)]
    assert [job.id for job in client.list(limit=0)] == made[::-1]
    assert [job.id for job in client.list(limit=101)] == made[::-1][:101]
    client.cancel(made[5])
    assert [job.id for job in client.list(["tokens"], [JobState.CANCELLED])] == [made[5]]
    assert client.list(["coder"]) == []


def test_cancel_retry_wait_and_dead_letters(client: Client, running: Services) -> None:
    job = client.submit("tokens", {})
    assert client.wait(job.id, timeout=0.2).state is JobState.QUEUED
    assert client.cancel(job.id).state is JobState.CANCELLED
    assert client.retry(job.id).state is JobState.QUEUED
    waiter = later(0.3, lambda: tell(running, job.id, EventType.COMMITTED, JobState.SUCCEEDED))
    assert client.wait(job.id).state is JobState.SUCCEEDED
    waiter.join()
    assert client.dead_letters(job.id)[0].failure.reason == "TASK_CRASHED"


def test_a_watch_goes_on_after_its_server_was_restarted(client: Client, running: Services) -> None:
    job = client.submit("tokens", {})
    seen: list[JobEvent] = []

    def disturb() -> None:
        for _ in range(2):
            tell(running, job.id, EventType.PROGRESS, JobState.RUNNING)
            restart(running, 0)
        tell(running, job.id, EventType.COMMITTED, JobState.SUCCEEDED)

    thread = later(0.2, disturb)
    seen = [event for event in client.watch([job.id]) if event.type is not EventType.HEARTBEAT]
    thread.join()
    assert [event.type for event in seen] == [
        EventType.CREATED, EventType.PROGRESS, EventType.PROGRESS, EventType.COMMITTED,
    ]  # fmt: skip
    assert [event.cursor for event in seen] == sorted({event.cursor for event in seen})


def test_another_server_answers_for_one_that_is_gone(client: Client, running: Services) -> None:
    job = client.submit("tokens", {})
    running.run(running.servers[0].stop())
    start = time.monotonic()
    assert client.get(job.id).id == job.id
    assert client.wait(job.id, timeout=0.1).id == job.id
    assert time.monotonic() - start < 3
    assert isinstance(client.server_info()["activation"], Unavailable)


def test_calls_are_repeated_while_a_known_server_restarts(client: Client, running: Services) -> None:
    job = client.submit("tokens", {})
    address = running.servers[0].address
    running.run(running.servers[0].stop())
    running.run(running.servers[1].stop())
    thread = later(1.0, lambda: running.servers.append(running.start(address)))
    assert client.submit("tokens", {}).id == job.id
    thread.join()


def test_a_server_that_was_never_there_is_not_waited_for() -> None:
    with Client({"activation": "127.0.0.1:1"}) as client:
        start = time.monotonic()
        with pytest.raises(Unavailable, match=r"no server answers at 127\.0\.0\.1:1 .*dragoman up"):
            client.get(UNKNOWN)
        assert time.monotonic() - start < 5


def test_a_server_that_never_answers_meets_a_deadline() -> None:
    async def test() -> None:
        silent = await asyncio.start_server(lambda reader, writer: reader.read(), "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        async with AsyncClient({"activation": f"127.0.0.1:{port}"}, timeout=0.5) as client:
            with pytest.raises(Unavailable) as caught:
                await client.get(UNKNOWN)
        assert caught.value.reason in {"DEADLINE_EXCEEDED", "UNAVAILABLE"}
        silent.close()

    asyncio.run(test())


def test_pipelines_submit_in_order_with_ids_filled_in(client: Client) -> None:
    steps = pipeline.parse(
        """
jobs:
  coder: {kind: coder, spec: {activations_id: "${acts}", k: 8}}
  acts: {kind: activations, spec: {tokens_id: "${text}", hookpoints: [layers.9]}}
  text: {kind: tokens, spec: {source: x, tokenizer: t}}
"""
    )
    jobs = client.submit_pipeline(steps)
    assert list(jobs) == ["text", "acts", "coder"]
    assert jobs["acts"].spec["tokens_id"] == jobs["text"].id
    assert jobs["coder"].spec == {"activations_id": jobs["acts"].id, "k": 8}


def test_what_a_server_finds_wrong_names_job_and_line(client: Client, running: Services) -> None:
    running.desk.error = InvalidSpec("there is no such file", field="source")
    steps = pipeline.parse("jobs:\n  text:\n    kind: tokens\n    spec:\n      source: x\n", "p.yaml")
    with pytest.raises(InvalidSpec) as caught:
        client.submit_pipeline(steps)
    assert caught.value.message == "jobs.text.spec.source: there is no such file (p.yaml, line 5)"
    running.desk.error = NotFound("no such model")
    with pytest.raises(NotFound, match="job 'text': no such model"):
        client.submit_pipeline(steps)


def test_downloads_are_verified_resumed_and_readable(client: Client, running: Services, tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    artifact = running.store.put("coder", data)
    partial = tmp_path / artifact.id / ".part.bin.partial"
    partial.parent.mkdir()
    partial.write_bytes(data[: 1 << 20])
    reports: list[tuple[str, int, int]] = []
    folder = client.download(artifact.id, tmp_path, lambda *report: reports.append(report))
    assert folder == tmp_path / artifact.id
    assert FolderArtifact(folder).read("part.bin") == data
    assert artifact.reads == [(1 << 20, 2 << 20)]
    assert reports[-1] == ("part.bin", 3 << 20, 3 << 20)
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "part.bin"]
    client.download(artifact.id, tmp_path)
    assert len(artifact.reads) == 1


def test_a_wrong_partial_file_is_fetched_again_from_the_start(
    client: Client, running: Services, tmp_path: Path
) -> None:
    artifact = running.store.put("coder", b"right bytes")
    partial = tmp_path / artifact.id / ".part.bin.partial"
    partial.parent.mkdir()
    partial.write_bytes(b"wrong")
    assert (client.download(artifact.id, tmp_path) / "part.bin").read_bytes() == b"right bytes"
    partial.write_bytes(b"longer than the part itself")
    (tmp_path / artifact.id / "part.bin").unlink()
    assert (client.download(artifact.id, tmp_path) / "part.bin").read_bytes() == b"right bytes"


def test_damaged_bytes_never_get_the_parts_name(client: Client, running: Services, tmp_path: Path) -> None:
    artifact = running.store.put("coder", b"right bytes")
    assert client.read_part(artifact.id, "part.bin") == b"right bytes"
    artifact.data = b"wrong bytes"
    for fetch in (lambda: client.download(artifact.id, tmp_path), lambda: client.read_part(artifact.id, "part.bin")):
        with pytest.raises(DataLoss, match=r"part\.bin of coder-.* arrived twice with other bytes"):
            fetch()
    with pytest.raises(NotFound, match=r"has no part 'parts\.bin'; it has part\.bin"):
        client.read_part(artifact.id, "parts.bin")
    assert list((tmp_path / artifact.id).iterdir()) == []


def test_a_download_goes_on_after_the_server_was_restarted(client: Client, running: Services, tmp_path: Path) -> None:
    data = os.urandom(24 << 20)
    artifact = running.store.put("coder", data)
    whole, threads = artifact.read_range, list[threading.Thread]()

    def slow(name: str, offset: int, length: int) -> bytes:
        time.sleep(0.8)
        return whole(name, offset, length)

    def report(part: str, done: int, total: int) -> None:
        if not threads and done > 4 << 20:
            threads.append(later(0.0, lambda: restart(running, 0)))

    artifact.read_range = slow  # type: ignore[method-assign]
    folder = client.download(artifact.id, tmp_path, report)
    threads[0].join()
    assert hashlib.sha256((folder / "part.bin").read_bytes()).digest() == hashlib.sha256(data).digest()
    assert len(artifact.reads) > 3, "the download was not interrupted"


def test_lineage_manifest_and_server_info(client: Client, running: Services) -> None:
    tokens = running.store.put("tokens", b"1").id
    coder = running.store.put("coder", b"2", {"activations": tokens}).id
    nodes = client.lineage(coder)
    assert [(node.artifact_id, node.committed) for node in nodes] == [(coder, True), (tokens, True)]
    assert client.manifest(coder).parts[0].size_bytes == 1
    info = client.server_info()["scorer"]
    assert not isinstance(info, DragomanError)
    assert (info.api_version, info.software, info.limits["max_page_size"]) == ("v1", {"torch": "2.13.0"}, 500)


def test_another_api_version_is_said_clearly(
    client: Client, running: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dragoman.rpc.info.API_VERSION", "v7")
    with pytest.raises(FailedPrecondition, match=r"speaks API 'v7', this client is version .* speaks API 'v1'"):
        client.submit("tokens", {})


def test_tokens_are_sent_and_refusals_explained() -> None:
    with services(principals=Principals.of_token("right")) as made:
        with Client(Addresses(made.addresses, token="right")) as client:
            assert client.submit("tokens", {}).id
        with Client(made.addresses) as client, pytest.raises(Unauthenticated, match="set DRAGOMAN_TOKEN"):
            client.get(UNKNOWN)


TLS = Path(__file__).parents[1] / "support" / "tls"


def test_tls_and_mutual_tls(tmp_path: Path) -> None:
    certificate, key = TLS / "localhost.pem", TLS / "localhost.key"
    with services(tls=TlsConfig(certificate, key)) as made:
        with Client(Addresses(made.addresses, tls_ca=certificate)) as client:
            assert client.submit("tokens", {}).id
        with Client(made.addresses) as client, pytest.raises(Unavailable):
            client.get(UNKNOWN)
    with services(tls=TlsConfig(certificate, key, client_ca=certificate)) as made:
        with Client(Addresses(made.addresses, "", certificate, certificate, key)) as client:
            assert client.submit("tokens", {}).id
        with Client(Addresses(made.addresses, tls_ca=certificate)) as client, pytest.raises(Unavailable):
            client.get(UNKNOWN)
        with Client(Addresses(made.addresses, tls_ca=tmp_path / "no.pem")) as client:  # noqa: SIM117
            with pytest.raises(NotFound, match=r"cannot read the PEM file .*no\.pem"):
                client.get(UNKNOWN)


def test_the_sync_client_works_inside_a_running_loop(running: Services) -> None:
    async def notebook() -> str:
        with Client(running.addresses) as client:
            return client.submit("tokens", {}).id

    assert asyncio.run(notebook()).startswith("tokens-")


def test_closing_a_watch_early_ends_its_call(client: Client, running: Services) -> None:
    job = client.submit("tokens", {})
    events = client.watch([job.id])
    assert next(events).type is EventType.CREATED
    events.close()
    client.cancel(job.id)


def test_addresses_come_from_the_environment_or_the_stack(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"no stack is running: .*stack\.json.*dragoman up"):
        Addresses.find({"DRAGOMAN_HOME": str(tmp_path)})
    (tmp_path / "stack.json").write_text(json.dumps({"services": {"sae-trainer": "127.0.0.1:5", "nats": "x:1"}}))
    assert Addresses.find({"DRAGOMAN_HOME": str(tmp_path)}).of == {"sae-trainer": "127.0.0.1:5"}
    found = Addresses.find({"DRAGOMAN_SCORER_ADDRESS": "host:99", "DRAGOMAN_TOKEN": "t"}, tmp_path)
    assert (found.of, found.token) == ({"scorer": "host:99"}, "t")
    with pytest.raises(NotFound, match="set DRAGOMAN_SAE_TRAINER_ADDRESS"):
        found.one("sae-trainer")
    with pytest.raises(InvalidSpec, match="expected host:port"):
        Addresses({"scorer": "localhost"})
    with pytest.raises(InvalidSpec, match="did you mean 'scorer'"):
        Addresses({"scoer": "localhost:1"})
    (tmp_path / "stack.json").write_text("{")
    with pytest.raises(Unavailable, match="cannot be read"):
        Addresses.find({}, tmp_path)
