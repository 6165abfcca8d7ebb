"""The transport, through a real server and a real channel. The desk and the store are small and in memory: what they
do is tested elsewhere, over real NATS and real S3; what is tested here is what a caller on the wire sees."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import pytest
from dragoman.artifact.v1 import artifact_pb2, artifact_pb2_grpc
from dragoman.errors import (
    AlreadyExists,
    DataLoss,
    DragomanError,
    FailedPrecondition,
    InvalidSpec,
    NotFound,
    ResourceExhausted,
    Unavailable,
    Violation,
)
from dragoman.job.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc
from dragoman.jobs import EventType, JobState
from dragoman.principals import Principals
from dragoman.rpc.errors import error_of
from dragoman.rpc.info import ServerInfo
from dragoman.rpc.server import RunningServer, ServerConfig, start
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, DebugInfo, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

from tests.support.memory_desk import MemoryDesk, MemoryStore


class Wire:
    """A running server and a channel to it."""

    def __init__(self, server: RunningServer, channel: grpc.aio.Channel, desk: MemoryDesk, store: MemoryStore) -> None:
        self.server, self.channel, self.desk, self.store = server, channel, desk, store
        self.jobs = job_service_pb2_grpc.JobServiceStub(channel)
        self.artifacts = artifact_pb2_grpc.ArtifactServiceStub(channel)


def on_the_wire(test: Callable[[Wire], Awaitable[None]], **settings: Any) -> list[tuple[str, str]]:
    """Runs a test against a server of its own; returns the calls that were observed."""
    calls: list[tuple[str, str]] = []

    async def run() -> None:
        desk, store = MemoryDesk(), MemoryStore()
        config = ServerConfig(**{"heartbeat": 0.2, "grace": 1.0, **settings})
        server = await start(
            config, desk, store, ServerInfo("test-service", software={"torch": "2.13.0"}), lambda *_: None, [],
            observe=lambda method, code, seconds: calls.append((method.rsplit("/", 1)[1], code)),
        )  # fmt: skip
        try:
            async with grpc.aio.insecure_channel(server.address) as channel:
                await asyncio.wait_for(test(Wire(server, channel, desk, store)), 30)
        finally:
            await server.stop()

    asyncio.run(run())
    return calls


def submit(spec: dict[str, Any], kind: str = "tokens") -> job_service_pb2.SubmitJobRequest:
    request = job_service_pb2.SubmitJobRequest(kind=kind)
    request.spec.update(spec)
    return request


async def refused(call: Awaitable[Any]) -> tuple[grpc.aio.AioRpcError, Status | None]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value, rpc_status.from_call(caught.value)  # type: ignore[arg-type]


async def read_all(stream: Any) -> list[Any]:
    return [answer async for answer in stream]


def detail(status: Status | None, type_: type[Any]) -> Any:
    assert status is not None
    for packed in status.details:
        if packed.Is(type_.DESCRIPTOR):
            found = type_()
            packed.Unpack(found)
            return found
    return None


# ------------------------------------------------------------------- errors

ERRORS: list[tuple[DragomanError, grpc.StatusCode]] = [
    (InvalidSpec([Violation("a.b", "too big"), Violation("c", "unknown")]), grpc.StatusCode.INVALID_ARGUMENT),
    (NotFound("no such thing", reason="NO_SUCH_KIND"), grpc.StatusCode.NOT_FOUND),
    (AlreadyExists("taken"), grpc.StatusCode.ALREADY_EXISTS),
    (FailedPrecondition("not now"), grpc.StatusCode.FAILED_PRECONDITION),
    (Unavailable("NATS is away"), grpc.StatusCode.UNAVAILABLE),
    (ResourceExhausted("full"), grpc.StatusCode.RESOURCE_EXHAUSTED),
    (DataLoss("torn"), grpc.StatusCode.DATA_LOSS),
    (DragomanError("hm", reason="ODD"), grpc.StatusCode.INTERNAL),
]


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda e: type(e).__name__)
def test_typed_errors_cross_the_wire_and_come_back(error: DragomanError, code: grpc.StatusCode) -> None:
    async def test(wire: Wire) -> None:
        wire.desk.error = error
        call, status = await refused(wire.jobs.SubmitJob(submit({})))
        assert call.code() is code
        info = detail(status, ErrorInfo)
        assert (info.reason, info.domain) == (error.reason, "dragoman")
        back = error_of(call, doing="SubmitJob", address="here")
        assert (type(back), back.message, back.reason) == (type(error), error.message, error.reason)
        if isinstance(error, InvalidSpec) and isinstance(back, InvalidSpec):
            assert back.violations == error.violations
            assert [v.field for v in detail(status, BadRequest).field_violations] == ["a.b", "c"]
        assert (detail(status, RetryInfo) is not None) == isinstance(error, Unavailable)
        assert detail(status, DebugInfo) is None

    assert on_the_wire(test) == [("SubmitJob", code.name)]


def test_unexpected_errors_show_an_id_and_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def test(wire: Wire) -> None:
        wire.desk.error = ZeroDivisionError("the secret is 42")
        call, status = await refused(wire.jobs.SubmitJob(submit({})))
        assert call.code() is grpc.StatusCode.INTERNAL
        error_id = detail(status, ErrorInfo).metadata["error_id"]
        assert error_id in (call.details() or "")
        for said in (str(call), str(status)):
            assert "secret" not in said
            assert "Traceback" not in said
        logged = [r for r in caplog.records if getattr(r, "error_id", "") == error_id]
        assert len(logged) == 1
        assert logged[0].exc_info
        assert "secret" in str(logged[0].exc_info[1])

    with caplog.at_level(logging.ERROR):
        on_the_wire(test)


def test_debug_servers_send_the_traceback() -> None:
    async def test(wire: Wire) -> None:
        wire.desk.error = ZeroDivisionError("oh")
        _, status = await refused(wire.jobs.SubmitJob(submit({})))
        assert "ZeroDivisionError: oh" in detail(status, DebugInfo).detail

    on_the_wire(test, debug=True)


def test_errors_with_more_words_than_metadata_can_carry_still_arrive() -> None:
    async def test(wire: Wire) -> None:
        wire.desk.error = InvalidSpec([Violation(f"field_{i}", "ä" * 500) for i in range(200)])
        call, status = await refused(wire.jobs.SubmitJob(submit({})))
        assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
        violations = detail(status, BadRequest).field_violations
        assert violations[0].field == "field_0"
        assert violations[-1].description == f"and {200 - len(violations) + 1} more"

    on_the_wire(test, debug=True)


def test_streaming_methods_map_errors_too() -> None:
    async def test(wire: Wire) -> None:
        request = job_service_pb2.WatchJobsRequest(job_ids=["nonsense"])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read_all(wire.jobs.WatchJobs(request))
        back = error_of(caught.value, doing="WatchJobs", address="here")
        assert isinstance(back, InvalidSpec)
        assert back.violations[0].field == "job_ids[0]"
        assert back.reason == "MALFORMED_ID"

    on_the_wire(test)


# --------------------------------------------------------------------- jobs


@pytest.mark.parametrize(
    ("call", "request_", "field"),
    [
        ("GetJob", job_service_pb2.GetJobRequest(), "job_id"),
        ("GetJob", job_service_pb2.GetJobRequest(job_id="tokens-123"), "job_id"),
        ("ListJobs", job_service_pb2.ListJobsRequest(page_size=501), "page_size"),
        ("ListJobs", job_service_pb2.ListJobsRequest(page_size=-1), "page_size"),
        ("ListJobs", job_service_pb2.ListJobsRequest(states=[1, 99]), "states[1]"),  # type: ignore[list-item]
        ("ListDeadLetters", job_service_pb2.ListDeadLettersRequest(page_size=1000), "page_size"),
        ("WaitJob", job_service_pb2.WaitJobRequest(job_id="x-" + "0" * 32, timeout=Duration(seconds=601)), "timeout"),
        ("SubmitJob", job_service_pb2.SubmitJobRequest(), "kind"),
        ("SubmitJob", job_service_pb2.SubmitJobRequest(kind="x", request_id="r" * 129), "request_id"),
        ("SubmitJob", submit({"text": "x" * 300_000}), "spec"),
    ],
)
def test_requests_out_of_limits_name_the_field(call: str, request_: Any, field: str) -> None:
    async def test(wire: Wire) -> None:
        error, status = await refused(getattr(wire.jobs, call)(request_))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert [v.field for v in detail(status, BadRequest).field_violations] == [field]

    on_the_wire(test)


def test_submit_get_list_page_and_dead_letters() -> None:
    async def test(wire: Wire) -> None:
        made = [await wire.jobs.SubmitJob(submit({"n": n}, "tokens" if n % 2 else "coder")) for n in range(7)]
        again = await wire.jobs.SubmitJob(submit({"n": 6}, "coder"))
        assert [m.created for m in made] == [True] * 7
        assert (again.created, again.job.id) == (False, made[6].job.id)
        got = await wire.jobs.GetJob(job_service_pb2.GetJobRequest(job_id=made[3].job.id))
        assert got.job == made[3].job

        pages = [await wire.jobs.ListJobs(job_service_pb2.ListJobsRequest(page_size=3))]
        while token := pages[-1].next_page_token:
            pages.append(await wire.jobs.ListJobs(job_service_pb2.ListJobsRequest(page_size=3, page_token=token)))
        assert [page.total_count for page in pages] == [7, 7, 7]
        assert [job.id for page in pages for job in page.jobs] == [m.job.id for m in reversed(made)]

        filtered = job_service_pb2.ListJobsRequest(kinds=["coder"], states=["JOB_STATE_QUEUED"])
        assert (await wire.jobs.ListJobs(filtered)).total_count == 4
        letters = await wire.jobs.ListDeadLetters(job_service_pb2.ListDeadLettersRequest(job_id=made[0].job.id))
        assert [letter.failure.message for letter in letters.dead_letters] == ["out of memory"]

    on_the_wire(test)


def test_pages_of_large_jobs_are_cut_below_the_message_limit() -> None:
    async def test(wire: Wire) -> None:
        for n in range(40):
            await wire.desk.submit("tokens", {"n": n, "text": "x" * 200_000})
        page = await wire.jobs.ListJobs(job_service_pb2.ListJobsRequest(page_size=40))
        assert (len(page.jobs), page.total_count, page.next_page_token) == (10, 40, "10")

    on_the_wire(test)


def test_watch_replays_from_a_cursor_beats_when_quiet_and_ends_when_all_is_done() -> None:
    async def test(wire: Wire) -> None:
        job = (await wire.jobs.SubmitJob(submit({"n": 1}))).job
        other = (await wire.jobs.SubmitJob(submit({"n": 2}))).job
        await wire.desk.tell(job.id, EventType.STARTED, JobState.RUNNING)
        await wire.desk.tell(other.id, EventType.STARTED, JobState.RUNNING)

        seen: list[tuple[str, int]] = []
        stream = wire.jobs.WatchJobs(job_service_pb2.WatchJobsRequest(job_ids=[job.id], cursor=1))
        async for answer in stream:
            event = answer.event
            assert event.job_id in (job.id, "")
            seen.append((job_pb2.EventType.Name(event.type).removeprefix("EVENT_TYPE_"), event.cursor))
            if seen[-1][0] == "HEARTBEAT" and wire.desk.jobs[job.id].state is JobState.RUNNING:
                await wire.desk.tell(job.id, EventType.COMMITTED, JobState.SUCCEEDED)
        assert seen[:3] == [("STARTED", 3), ("HEARTBEAT", 3), ("COMMITTED", 5)]

        after = wire.jobs.WatchJobs(job_service_pb2.WatchJobsRequest(job_ids=[job.id], cursor=5))
        assert [answer async for answer in after] == []

    assert on_the_wire(test).count(("WatchJobs", "OK")) == 2


def test_watch_follows_on_and_is_released_when_the_client_goes() -> None:
    async def test(wire: Wire) -> None:
        job = (await wire.jobs.SubmitJob(submit({"n": 1}))).job
        await wire.desk.tell(job.id, EventType.COMMITTED, JobState.SUCCEEDED)
        stream = wire.jobs.WatchJobs(job_service_pb2.WatchJobsRequest(job_ids=[job.id], follow=True))
        types = [(await stream.read()).event.type for _ in range(4)]  # type: ignore[attr-defined]
        assert types == [1, 7, 12, 12]
        before = len(asyncio.all_tasks())
        stream.cancel()
        for _ in range(50):
            await asyncio.sleep(0.02)
            if len(asyncio.all_tasks()) < before:
                return
        raise AssertionError("the watch still holds its tasks")

    on_the_wire(test)


def test_wait_returns_at_the_end_or_at_the_timeout() -> None:
    async def test(wire: Wire) -> None:
        job = (await wire.jobs.SubmitJob(submit({"n": 1}))).job
        request = job_service_pb2.WaitJobRequest(job_id=job.id)
        request.timeout.FromMilliseconds(100)
        assert (await wire.jobs.WaitJob(request)).job.state == job_pb2.JOB_STATE_QUEUED
        request.timeout.FromSeconds(20)
        waiting = asyncio.ensure_future(wire.jobs.WaitJob(request))
        await asyncio.sleep(0.1)
        await wire.jobs.CancelJob(job_service_pb2.CancelJobRequest(job_id=job.id))
        assert (await waiting).job.state == job_pb2.JOB_STATE_CANCELLED
        retried = await wire.jobs.RetryJob(job_service_pb2.RetryJobRequest(job_id=job.id))
        assert retried.job.state == job_pb2.JOB_STATE_QUEUED

    on_the_wire(test)


def test_server_info_tells_versions_and_limits() -> None:
    async def test(wire: Wire) -> None:
        info = await wire.jobs.GetServerInfo(job_service_pb2.GetServerInfoRequest())
        assert (info.service, info.api_version, info.software["torch"]) == ("test-service", "v1", "2.13.0")
        assert info.limits.max_message_bytes == 4 * 1024 * 1024

    on_the_wire(test)


# ---------------------------------------------------------------- artifacts


def test_parts_stream_in_chunks_of_at_most_a_mebibyte_from_ranged_reads() -> None:
    async def test(wire: Wire) -> None:
        data = bytes(range(256)) * (4096 * 9) + b"tail"
        artifact = wire.store.put("coder", data)
        request = artifact_pb2.DownloadPartRequest(artifact_id=artifact.id, part_name="part.bin")
        chunks = [answer.data async for answer in wire.artifacts.DownloadPart(request)]
        assert b"".join(chunks) == data
        assert max(map(len, chunks)) == 1 << 20
        assert artifact.reads == [(0, 8 << 20), (8 << 20, len(data) - (8 << 20))]
        request.offset_bytes, request.length_bytes = len(data) - 6, 4
        assert [a.data async for a in wire.artifacts.DownloadPart(request)] == [b"\xfe\xffta"]
        request.length_bytes = 7
        with pytest.raises(grpc.aio.AioRpcError, match=r"reach outside of part\.bin"):
            await wire.artifacts.DownloadPart(request).read()  # type: ignore[attr-defined]
        request.part_name = "part.bim"
        with pytest.raises(grpc.aio.AioRpcError, match=r"did you mean 'part\.bin'"):
            await wire.artifacts.DownloadPart(request).read()  # type: ignore[attr-defined]

    on_the_wire(test)


def test_empty_parts_are_empty_streams() -> None:
    async def test(wire: Wire) -> None:
        artifact = wire.store.put("tokens", b"")
        request = artifact_pb2.DownloadPartRequest(artifact_id=artifact.id, part_name="part.bin")
        assert [a async for a in wire.artifacts.DownloadPart(request)] == []

    on_the_wire(test)


def test_manifests_and_what_is_said_when_there_is_none() -> None:
    async def test(wire: Wire) -> None:
        artifact = wire.store.put("tokens", b"abc")
        got = await wire.artifacts.GetManifest(artifact_pb2.GetManifestRequest(artifact_id=artifact.id))
        assert got.manifest.parts[0].sha256 == hashlib.sha256(b"abc").hexdigest()
        unknown = "tokens-" + "0" * 32
        call, _ = await refused(wire.artifacts.GetManifest(artifact_pb2.GetManifestRequest(artifact_id=unknown)))
        assert call.code() is grpc.StatusCode.NOT_FOUND
        assert "no job that makes it" in (call.details() or "")
        job = (await wire.jobs.SubmitJob(submit({"n": 1}))).job
        call, status = await refused(wire.artifacts.GetManifest(artifact_pb2.GetManifestRequest(artifact_id=job.id)))
        assert "its job is QUEUED; wait for it" in (call.details() or "")
        assert detail(status, ErrorInfo).reason == "NOT_COMMITTED"

    on_the_wire(test)


def test_lineage_walks_manifests_and_jobs_breadth_first() -> None:
    async def test(wire: Wire) -> None:
        tokens = wire.store.put("tokens", b"1").id
        acts = wire.store.put("activations", b"22", {"tokens": tokens}).id
        coder = wire.store.put("coder", b"333", {"activations": acts}).id
        job = (await wire.desk.submit("latents", {}))[0]
        wire.desk.jobs[job.id] = replace(job, inputs={"tokens": tokens, "coder": coder})
        answer = await wire.artifacts.GetLineage(artifact_pb2.GetLineageRequest(artifact_id=job.id))
        assert [(n.kind, n.committed) for n in answer.nodes] == [
            ("latents", False), ("coder", True), ("tokens", True), ("activations", True),
        ]  # fmt: skip
        assert dict(answer.nodes[0].inputs) == {"tokens": tokens, "coder": coder}

    on_the_wire(test)


# ------------------------------------------------------------------- server


async def health_of(channel: grpc.aio.Channel, name: str) -> int:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name))
    return answer.status


def test_health_by_service_and_not_serving_before_the_end() -> None:
    async def test(wire: Wire) -> None:
        for name in ("", "dragoman.job.v1.JobService", "dragoman.artifact.v1.ArtifactService"):
            assert await health_of(wire.channel, name) == health_pb2.HealthCheckResponse.SERVING
        watch = health_pb2_grpc.HealthStub(wire.channel).Watch(health_pb2.HealthCheckRequest(service=""))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        job = (await wire.jobs.SubmitJob(submit({"n": 1}))).job
        events = aiter(wire.jobs.WatchJobs(job_service_pb2.WatchJobsRequest(job_ids=[job.id])))
        await anext(events)
        stopping = asyncio.ensure_future(wire.server.stop())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read_all(events)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert error_of(caught.value, doing="WatchJobs", address="").reason == "SHUTTING_DOWN"
        watch.cancel()
        await stopping

    on_the_wire(test, grace=10.0)


def test_reflection_lists_every_service_and_its_messages() -> None:
    listed: list[str] = []
    fields: list[str] = []

    def look(address: str) -> None:  # the reflection client is synchronous
        with grpc.insecure_channel(address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            listed.extend(database.get_services())
            pool = DescriptorPool(database)
            spec = pool.FindServiceByName("dragoman.job.v1.JobService").FindMethodByName("WatchJobs")
            fields.extend(field.name for field in spec.input_type.fields)

    async def test(wire: Wire) -> None:
        await asyncio.to_thread(look, wire.server.address)

    on_the_wire(test)
    assert set(listed) == {
        "dragoman.job.v1.JobService",
        "dragoman.artifact.v1.ArtifactService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert fields == ["job_ids", "cursor", "follow"]


def test_an_address_in_use_names_the_setting() -> None:
    async def test(wire: Wire) -> None:
        config = ServerConfig(address=wire.server.address)
        with pytest.raises(FailedPrecondition, match=r"in use .*set TEST_SERVICE_GRPC_ADDRESS") as caught:
            await start(config, wire.desk, wire.store, ServerInfo("test-service"), lambda *_: None, [])
        assert caught.value.reason == "ADDRESS_IN_USE"

    on_the_wire(test)


def test_tokens_guard_everything_but_health_and_reflection() -> None:
    async def test(wire: Wire) -> None:
        request = job_service_pb2.GetServerInfoRequest()
        for metadata in (None, (("authorization", "Bearer wrong"),)):
            call, _ = await refused(wire.jobs.GetServerInfo(request, metadata=metadata))
            assert call.code() is grpc.StatusCode.UNAUTHENTICATED
        stream = wire.jobs.WatchJobs(job_service_pb2.WatchJobsRequest())
        with pytest.raises(grpc.aio.AioRpcError, match="UNAUTHENTICATED"):
            await stream.read()  # type: ignore[attr-defined]
        assert (await wire.jobs.GetServerInfo(request, metadata=(("authorization", "Bearer right"),))).service
        assert await health_of(wire.channel, "") == health_pb2.HealthCheckResponse.SERVING

    on_the_wire(test, principals=Principals.of_token("right"))


def test_messages_above_four_mebibytes_are_refused() -> None:
    async def test(wire: Wire) -> None:
        call, _ = await refused(wire.jobs.SubmitJob(submit({"text": "x" * (4 * 1024 * 1024)})))
        assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    on_the_wire(test)
