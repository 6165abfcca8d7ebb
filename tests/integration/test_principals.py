"""Who may call what, over the wire and against the real job system."""

import asyncio
import re
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import nats
import pytest
from dragoman.client import Addresses, Client
from dragoman.errors import InvalidSpec, NotFound, PermissionDenied, ResourceExhausted, Unauthenticated
from dragoman.job.v1 import job_service_pb2, maintenance_service_pb2
from dragoman.jobs import JobState
from dragoman.principals import Principals, Role, hash_of, required_role
from dragoman.principals_file import read_principals
from dragoman.rpc.errors import retry_delay
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.cluster import Cluster
from tests.support.scripted_http import Reply, ScriptedServer, chat_reply, scripted

FILE = f"""
principals:
  - {{name: viewer, token_sha256: {hash_of("token-of-viewer")}, role: read}}
  - {{name: ana, token_sha256: {hash_of("token-of-ana")}, max_open_jobs: 2}}
  - {{name: root, token_sha256: {hash_of("token-of-root")}, role: admin}}
  - {{name: vera, token_sha256: {hash_of("token-of-vera")}, namespace: vision}}
  - {{name: leo, token_sha256: {hash_of("token-of-leo")}, namespace: language, max_bytes: 1}}
  - {{name: mia, token_sha256: {hash_of("token-of-mia")}, namespace: vision, max_llm_tokens: 11}}
"""
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(scope="module")
def engine() -> Iterator[ScriptedServer]:
    """A language model that says yes to everything: 10 tokens of prompt and 1 of reply."""
    with scripted(lambda *_: chat_reply()) as server:
        yield server


@pytest.fixture(scope="module")
def collector() -> Iterator[ScriptedServer]:
    """What OpenTelemetry's spans are sent to."""
    with scripted(lambda *_: Reply()) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, engine: ScriptedServer, collector: ScriptedServer
) -> Iterator[Cluster]:
    """NATS, store and a probe server that knows some principals and traces; no worker."""
    root: Path = tmp_path_factory.mktemp("cluster")
    path = root / "principals.yaml"
    path.write_text(FILE)
    told = {
        "DRAGOMAN_PRINCIPALS": str(path),
        "DRAGOMAN_INSECURE": "",
        "DRAGOMAN_LLM_URL": engine.url,
        "DRAGOMAN_TRACES": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    cluster = Cluster(root, told)
    try:
        cluster.start_infrastructure()
        cluster.service("probe", "serve", name="api")
        cluster.channel("api")
        yield cluster
    finally:
        cluster.stop()


def _client(cluster: Cluster, name: str) -> Client:
    return Client(Addresses({"scorer": f"127.0.0.1:{cluster.ports['api']}"}, token=f"token-of-{name}"))


def _submit(
    cluster: Cluster, name: str, text: str, kind: str = "probe", trace: str = "", request_id: str = "", **more: object
) -> job_service_pb2.SubmitJobResponse:
    channel = cluster.channel("api")
    call = channel.unary_unary(
        "/dragoman.job.v1.JobService/SubmitJob",
        request_serializer=job_service_pb2.SubmitJobRequest.SerializeToString,
        response_deserializer=job_service_pb2.SubmitJobResponse.FromString,
    )
    request = job_service_pb2.SubmitJobRequest(kind=kind, request_id=request_id)
    request.spec.update({"text": text, **({"task_count": 1} if kind == "probe" else {}), **more})
    metadata = [("authorization", f"Bearer token-of-{name}"), *([("traceparent", trace)] if trace else [])]
    return call(request, metadata=metadata)


def _refused(call: Callable[[], object]) -> str:
    """The code and message with which a call is refused, hashes left out."""
    with pytest.raises((grpc.RpcError, NotFound)) as caught:
        call()
    error: Any = caught.value
    said = f"{error.code().name}: {error.details()}" if isinstance(error, grpc.RpcError) else f"NOT_FOUND: {error}"
    return re.sub(r"[0-9a-f]{32}", "...", said)


def test_each_role_may_do_its_own(cluster: Cluster) -> None:
    made = _submit(cluster, "ana", uuid.uuid4().hex).job
    assert made.principal == "ana"
    with _client(cluster, "viewer") as viewer:
        assert viewer.get(made.id).principal == "ana"
        with pytest.raises(PermissionDenied, match="viewer has the role read; CancelJob needs submit"):
            viewer.cancel(made.id)
    with _client(cluster, "ana") as ana:
        with pytest.raises(PermissionDenied, match="ana has the role submit; CollectGarbage needs admin"):
            ana.collect_garbage()
        assert ana.cancel(made.id).id == made.id
    with _client(cluster, "root") as root:
        assert root.collect_garbage() == []
    with (
        _client(cluster, "nobody") as nobody,
        pytest.raises(Unauthenticated, match="no token that this server accepts"),
    ):
        nobody.get(made.id)


def test_a_quota_is_answered_with_when_to_try_again(cluster: Cluster) -> None:
    open_jobs = [_submit(cluster, "ana", uuid.uuid4().hex).job for _ in range(2)]
    text = uuid.uuid4().hex
    with pytest.raises(grpc.RpcError) as caught:
        _submit(cluster, "ana", text)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "ana has 2 jobs that are not done and may have 2" in caught.value.details()
    assert retry_delay(caught.value) == 30
    known = _submit(cluster, "ana", open_jobs[0].spec["text"])
    assert known.job.id == open_jobs[0].id, "a job that is known costs nothing"
    assert _submit(cluster, "root", text).created, "another principal has limits of its own"
    with _client(cluster, "ana") as ana:
        ana.cancel(open_jobs[0].id)
        assert ana.wait(open_jobs[0].id, 20).state.terminal
        assert _submit(cluster, "ana", uuid.uuid4().hex).created
        with pytest.raises(ResourceExhausted, match="ana has 2 jobs that are not done"):
            ana.retry(open_jobs[0].id)
        for job in ana.list(limit=0):
            if not job.state.terminal:
                ana.cancel(job.id)


@pytest.fixture(scope="module")
def worker(cluster: Cluster) -> Iterator[None]:
    """A worker, for the tests below: those above count jobs that wait."""
    cluster.service("probe", "work", name="worker")
    yield
    cluster.kill("worker", signal.SIGTERM)


@pytest.mark.usefixtures("worker")
def test_another_namespace_is_as_if_it_were_not_there(cluster: Cluster) -> None:
    text, other_text = uuid.uuid4().hex, uuid.uuid4().hex
    hers = _submit(cluster, "vera", text, request_id="r").job
    his = _submit(cluster, "leo", text)
    assert his.created, "whether somebody else has made it cannot be learnt by making it"
    assert his.job.id != hers.id
    shared = _submit(cluster, "ana", text).job
    nobody = f"probe-{uuid.uuid4().hex}"
    with _client(cluster, "vera") as vera, _client(cluster, "leo") as leo, _client(cluster, "root") as root:
        assert vera.wait(hers.id, 60).state is JobState.SUCCEEDED
        assert leo.wait(his.job.id, 60).state is JobState.SUCCEEDED
        assert root.wait(shared.id, 60).state is JobState.SUCCEEDED
        for ask in (
            leo.get,
            leo.manifest,
            leo.lineage,
            leo.cancel,
            leo.retry,
            lambda id_: leo.wait(id_, 1),
            leo.log_lines,
            lambda id_: list(leo.watch([id_])),
            lambda id_: _submit(cluster, "vera" if id_ == his.job.id else "leo", other_text, input_ids=[id_]),
        ):
            assert _refused(lambda ask=ask: ask(hers.id)) == _refused(lambda ask=ask: ask(nobody))
        assert {job.id for job in leo.list(limit=0)} >= {his.job.id, shared.id}
        assert hers.id not in {job.id for job in leo.list(limit=0)}
        assert {hers.id, his.job.id, shared.id} <= {job.id for job in root.list(limit=0)}
        assert vera.manifest(hers.id).namespace == root.get(hers.id).namespace == "vision"
        with pytest.raises(PermissionDenied, match="is shared by everybody; vera may read it"):
            vera.retry(shared.id)
        built = _submit(cluster, "vera", other_text, input_ids=[hers.id, shared.id], request_id="r2").job
        assert vera.wait(built.id, 60).state is JobState.SUCCEEDED
        assert len(vera.lineage(built.id)) == 3
    assert _submit(cluster, "ana", other_text, request_id="r2").created, "request ids are a namespace's own"
    with _client(cluster, "leo") as leo, _client(cluster, "root") as root:
        told = {event.job_id for event in leo.watch()}
        assert told >= {his.job.id, shared.id}
        assert not told & {hers.id, built.id}
        asyncio.run(_forget(cluster, hers.id))
        assert hers.id in root.rebuild_jobs()[0]
        assert root.get(hers.id).namespace == "vision"
        with pytest.raises(NotFound):
            leo.get(hers.id)


async def _forget(cluster: Cluster, job_id: str) -> None:
    """Removes a job's record, as if NATS had lost it."""
    connection = await nats.connect(cluster.settings["DRAGOMAN_NATS_URL"])
    try:
        await (await connection.jetstream().key_value("dragoman_jobs")).delete(job_id)
    finally:
        await connection.close()


@pytest.mark.usefixtures("worker")
def test_bytes_and_tokens_have_quotas(cluster: Cluster) -> None:
    for name, kind, expected, seconds in (
        ("leo", "probe", "bytes in artifacts and may have 1", (3600, 3600)),
        ("mia", "ask", "mia has 11 language-model tokens of the last 24 hours and may have 11", (86_000, 86_400)),
    ):
        with _client(cluster, name) as client:
            known = [job for job in client.list(limit=0) if job.principal == name]
            done = known[0].id if known else _submit(cluster, name, uuid.uuid4().hex, kind).job.id
            assert client.wait(done, 60).state is JobState.SUCCEEDED
        with pytest.raises(grpc.RpcError, match=expected) as caught:
            _submit(cluster, name, uuid.uuid4().hex, kind)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert seconds[0] <= retry_delay(caught.value) <= seconds[1]


@pytest.mark.usefixtures("worker")
def test_one_trace_leads_from_the_caller_to_the_language_model(
    cluster: Cluster, engine: ScriptedServer, collector: ScriptedServer
) -> None:
    job = _submit(cluster, "vera", uuid.uuid4().hex, "ask", f"00-{TRACE}-b7ad6b7169203331-01").job
    with _client(cluster, "vera") as vera:
        assert vera.wait(job.id, 60).state is JobState.SUCCEEDED
    names = ["dragoman.job.v1.JobService/SubmitJob", "task ask", "run ask", "llm chat/completions"]
    spans = _spans(collector, names)
    above = "b7ad6b7169203331"
    for name in names:
        assert spans[name].parent_span_id.hex() == above, f"{name} is not where it belongs"
        above = spans[name].span_id.hex()
    assert engine.headers[-1]["traceparent"] == f"00-{TRACE}-{above}-01"
    headers = asyncio.run(_event_headers(cluster, f"dragoman.events.ask.{job.id}.COMMITTED"))
    assert headers["traceparent"] == f"00-{TRACE}-{spans[names[0]].span_id.hex()}-01"


def _spans(collector: ScriptedServer, names: Sequence[str]) -> dict[str, Span]:
    """The spans of TRACE by name, once all of them have come."""
    deadline = time.monotonic() + 20
    while True:
        with collector.lock:
            bodies = [body for path, body in collector.seen if path == "/v1/traces"]
        resources = [each for body in bodies for each in ExportTraceServiceRequest.FromString(body).resource_spans]
        spans = [span for each in resources for scope in each.scope_spans for span in scope.spans]
        found = {span.name: span for span in spans if span.trace_id.hex() == TRACE}
        if set(names) <= set(found):
            return found
        assert time.monotonic() < deadline, f"only {sorted(found)} came"
        time.sleep(0.1)


async def _event_headers(cluster: Cluster, subject: str) -> dict[str, str]:
    connection = await nats.connect(cluster.settings["DRAGOMAN_NATS_URL"])
    try:
        message = await connection.jetstream().get_last_msg("dragoman_EVENTS", subject)
        return message.headers or {}
    finally:
        await connection.close()


def test_what_is_not_known_asks_for_the_most() -> None:
    assert required_role("/dragoman.job.v1.JobService/GetJob") is Role.READ
    assert required_role("/dragoman.artifact.v1.ArtifactService/DownloadPart") is Role.READ
    assert required_role("/dragoman.activation.v1.ActivationService/SubmitLatents") is Role.SUBMIT
    service = maintenance_service_pb2.DESCRIPTOR.services_by_name["MaintenanceService"]
    for method in service.methods:
        assert required_role(f"/{service.full_name}/{method.name}") is Role.ADMIN
    assert required_role("/dragoman.job.v1.JobService/ForgetEverything") is Role.ADMIN


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("principals: []", "names nobody; expected principals:, oidc: or both"),
        ("principals: [{name: a, token_sha256: secret}]", "principals.0.token_sha256: String should match"),
        (f"principals: [{{name: a, token_sha256: {hash_of('x')}, role: king}}]", "principals.0.role: Input should be"),
        (f"principals: [{{name: a, token: {hash_of('x')}}}]", "principals.0.token_sha256: Field required"),
        (
            f"principals: [{{name: a, token_sha256: {hash_of('x')}}}, {{name: b, token_sha256: {hash_of('x')}}}]",
            "the token_sha256 of a is there twice",
        ),
        ("principals: [", "is not YAML"),
    ],
)
def test_a_wrong_file_is_refused_at_start(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "principals.yaml"
    path.write_text(text)
    with pytest.raises(InvalidSpec) as caught:
        read_principals(path)
    assert expected in caught.value.message
    assert "secret" not in caught.value.message
    with pytest.raises(NotFound, match="cannot read"):
        read_principals(tmp_path / "missing.yaml")


def test_only_a_bearer_token_identifies() -> None:
    principals = Principals.of_token("right")
    assert principals.identify("Bearer right") is not None
    for wrong in ("", "right", "Basic right", "Bearer", "Bearer wrong", f"Bearer {hash_of('right')}"):
        assert principals.identify(wrong) is None
