"""What the shell promises when what it needs misbehaves: store, NATS, disks, clocks, its loop, the bytes it reads."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import pytest
from dragoman.artifact.v1 import artifact_pb2, artifact_pb2_grpc
from dragoman.bus import Bus, BusConfig
from dragoman.client import Client
from dragoman.ids import artifact_id
from dragoman.job.v1 import job_pb2, job_service_pb2
from dragoman.jobs import JobRecord, JobState, StageRecord
from dragoman.ledger import Ledger
from dragoman.records import Lease
from dragoman.store import manifest_key

from tests.faults.checks import assert_whole, done_tasks, expected_lines
from tests.support.cluster import SUPPORT, Cluster
from tests.support.fault_proxy import Fault, FaultProxy, fault_proxy
from tests.support.jobs import FAILED, SUCCEEDED, Jobs


@dataclass
class Behind:
    """A probe service, API and worker, that reaches NATS and the store through proxies only."""

    jobs: Jobs
    proxies: dict[str, FaultProxy]
    clock: Path


@pytest.fixture(scope="module")
def behind(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    """The service beside the others, in a namespace of its own."""
    clock = tmp_path_factory.mktemp("clock") / "off"
    with fault_proxy(cluster.ports["s3"]) as store, fault_proxy(cluster.ports["nats"]) as nats:
        environ = {
            "DRAGOMAN_NAMESPACE": "behind",
            "DRAGOMAN_S3_ENDPOINT": store.address,
            "DRAGOMAN_NATS_URL": f"nats://{nats.address}",
            "PYTHONPATH": os.pathsep.join([str(SUPPORT / "clock"), str(SUPPORT)]),
            "JUMPING_CLOCK": str(clock),
        }
        name = cluster.service("probe", name="behind", environ=environ)
        yield Behind(Jobs(cluster.channel(name), "probe"), {"store": store, "nats": nats}, clock)
        cluster.kill(name, signal.SIGTERM)


SLICE = {("store", Fault.HTTP_503), ("store", Fault.CUT), ("nats", Fault.CUT)}
ALL = [(victim, fault) for victim in ("store", "nats") for fault in Fault if fault is not Fault.NONE]
HURTS = [(victim, fault) for victim, fault in ALL if victim == "store" or not fault.name.startswith("HTTP")]


@pytest.mark.parametrize(
    ("victim", "fault"),
    [pytest.param(*hurt, marks=() if hurt in SLICE else pytest.mark.full) for hurt in HURTS],
    ids=lambda value: value.name.lower() if isinstance(value, Fault) else value,
)
def test_what_stands_between_may_misbehave(cluster: Cluster, behind: Behind, victim: str, fault: Fault) -> None:
    text, proxy = uuid.uuid4().hex, behind.proxies[victim]
    job = behind.jobs.submit({"text": text, "task_count": 1, "steps": 30, "step_seconds": 0.1})
    behind.jobs.until_running(job.id)
    proxy.fault, deadline = fault, time.monotonic() + 20
    try:
        while not proxy.harmed[fault] and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(2.0)
    finally:
        proxy.fault = Fault.NONE
    assert proxy.harmed[fault] > 0, "nothing went through the proxy meanwhile"
    assert behind.jobs.wait(job.id).state == SUCCEEDED
    assert sorted(done_tasks(behind.jobs, job.id)) == ["0-0", "1-0"]
    assert_whole(cluster, job.id, expected_lines(text, 1, 30))


def test_a_clock_that_jumps_changes_nothing(cluster: Cluster, behind: Behind) -> None:
    text = uuid.uuid4().hex
    job = behind.jobs.submit({"text": text, "task_count": 1, "steps": 15, "step_seconds": 0.1})
    behind.jobs.until_running(job.id)
    for seconds in (86_400, -7_200):
        behind.clock.write_text(str(seconds))
        time.sleep(0.7)
    ended = behind.jobs.wait(job.id)
    behind.clock.unlink()
    assert ended.state == SUCCEEDED
    assert ended.end_time.seconds < time.time() - 3_600, "the clock was not off"
    assert sorted(done_tasks(behind.jobs, job.id)) == ["0-0", "1-0"]
    assert_whole(cluster, job.id, expected_lines(text, 1, 15))


def test_a_worker_that_stood_still_for_twice_its_ack_wait_doubles_nothing(cluster: Cluster, jobs: Jobs) -> None:
    """Its child goes on meanwhile, and another worker is given the task: two hold it."""
    text = uuid.uuid4().hex
    job = jobs.submit({"text": text, "task_count": 1, "steps": 70, "step_seconds": 0.1})
    jobs.until_running(job.id)
    holder = int(asyncio.run(_leases(cluster, job.id))["0-0"].owner.split("-")[-3])
    os.kill(holder, signal.SIGSTOP)
    try:
        time.sleep(2 * float(cluster.settings["DRAGOMAN_ACK_WAIT_S"]))
        other = asyncio.run(_leases(cluster, job.id))["0-0"]
        assert other.attempt == 2, "no other worker was given the task"
    finally:
        os.kill(holder, signal.SIGCONT)
    assert jobs.wait(job.id).state == SUCCEEDED
    assert sorted(done_tasks(jobs, job.id)) == ["0-0", "1-0"]
    assert_whole(cluster, job.id, expected_lines(text, 1, 70))


async def _leases(cluster: Cluster, job_id: str) -> Mapping[str, Lease]:
    """Who runs what of a job, as NATS has it."""
    bus = Bus(BusConfig(cluster.settings["DRAGOMAN_NATS_URL"]))
    await bus.connect()
    try:
        return await Ledger(bus).leases(job_id)
    finally:
        await bus.close()


def test_a_watcher_that_does_not_read_holds_up_nobody_and_loses_nothing(jobs: Jobs) -> None:
    job = jobs.submit({"text": uuid.uuid4().hex, "task_count": 40, "steps": 1})
    asleep = jobs.stub.WatchJobs(job_service_pb2.WatchJobsRequest(job_ids=[job.id]), timeout=120)
    assert jobs.wait(job.id).state == SUCCEEDED
    told = [event.cursor for event in jobs.events(job.id)]
    woken = [answer.event for answer in asleep if answer.event.type != job_pb2.EVENT_TYPE_HEARTBEAT]
    assert [event.cursor for event in woken] == told
    assert sum(event.type == job_pb2.EVENT_TYPE_TASK_DONE for event in woken) == 41


def test_a_part_with_other_bytes_than_promised_is_named_and_never_used(cluster: Cluster, jobs: Jobs) -> None:
    store, text = cluster.store(), uuid.uuid4().hex
    first = jobs.submit({"text": text, "task_count": 1})
    assert jobs.wait(first.id).state == SUCCEEDED
    key = store.artifact(first.id).manifest.part("all.txt").key
    good = store.objects.get_bytes(key) or b""
    store.objects.put_bytes(key, good[:-2] + b"?\n")
    second = jobs.submit({"text": text + "-2", "task_count": 1, "input_ids": [first.id]})
    failed = jobs.wait(second.id)
    assert failed.state == FAILED
    assert key in failed.failure.message or "all.txt" in failed.failure.message
    assert first.id in failed.failure.message
    assert cluster.store().manifest(second.id) is None
    store.objects.put_bytes(key, good)
    jobs.stub.RetryJob(job_service_pb2.RetryJobRequest(job_id=second.id))
    assert jobs.wait(second.id).state == SUCCEEDED
    assert_whole(cluster, second.id, expected_lines(text + "-2", 1, 3) + good)


def test_a_manifest_that_is_cut_short_is_told_and_stops_nobody_else(cluster: Cluster, jobs: Jobs) -> None:
    store = cluster.store()
    first = jobs.submit({"text": uuid.uuid4().hex, "task_count": 1})
    assert jobs.wait(first.id).state == SUCCEEDED
    good = store.objects.get_bytes(manifest_key(first.id)) or b""
    store.objects.put_bytes(manifest_key(first.id), good[: len(good) // 2])
    spec = {"text": uuid.uuid4().hex, "task_count": 1, "input_ids": [first.id]}
    with Client({"scorer": f"127.0.0.1:{cluster.ports['api']}"}) as client, cluster.channel("api") as channel:
        before = {job.id for job in client.list(limit=0)}
        for call in (
            lambda: jobs.submit(spec),
            lambda: artifact_pb2_grpc.ArtifactServiceStub(channel).GetManifest(
                artifact_pb2.GetManifestRequest(artifact_id=first.id)
            ),
        ):
            with pytest.raises(grpc.RpcError, match=f"{first.id}.*is damaged") as caught:
                call()
            assert caught.value.code() is grpc.StatusCode.DATA_LOSS
        assert {job.id for job in client.list(limit=0)} == before, "a refused job was recorded"
        assert first.id not in {id_ for line in client.collect_garbage(1) for id_ in line.job_ids}
        client.rebuild_jobs()
    store.objects.put_bytes(manifest_key(first.id), good)
    assert jobs.wait(jobs.submit(spec).id).state == SUCCEEDED


def test_a_job_whose_server_died_before_it_queued_its_tasks_runs(cluster: Cluster, jobs: Jobs) -> None:
    spec = {"text": uuid.uuid4().hex, "task_count": 2}
    record = JobRecord(
        artifact_id("empty", 1, spec), "empty", "probe", JobState.QUEUED, spec, {}, stages=(StageRecord("nothing", 2),)
    )

    async def write() -> None:
        bus = Bus(BusConfig(cluster.settings["DRAGOMAN_NATS_URL"]))
        await bus.connect()
        await Ledger(bus).create(replace(record, create_time=time.time()))
        await bus.close()

    asyncio.run(write())
    assert jobs.wait(record.id).state == SUCCEEDED
    assert sorted(done_tasks(jobs, record.id)) == ["0-0", "0-1"]


@pytest.mark.parametrize(("clients", "changes"), [(20, 3), pytest.param(50, 20, marks=pytest.mark.full)])
def test_many_clients_change_one_record_and_no_change_is_lost(cluster: Cluster, clients: int, changes: int) -> None:
    async def storm() -> JobRecord:
        url = cluster.settings["DRAGOMAN_NATS_URL"]
        buses = [Bus(BusConfig(url, "storm")) for _ in range(5)]
        for bus in buses:
            await bus.connect()
        ledgers = [Ledger(bus) for bus in buses]
        id_ = f"empty-{uuid.uuid4().hex}"
        await ledgers[0].create(JobRecord(id_, "empty", "probe", JobState.QUEUED, {}, {}))

        async def client(number: int) -> None:
            for _ in range(changes):
                await ledgers[number % 5].change(id_, lambda r: replace(r, failed_count=r.failed_count + 1))

        await asyncio.gather(*(client(number) for number in range(clients)))
        found = await ledgers[0].get(id_)
        for bus in buses:
            await bus.close()
        return found

    assert asyncio.run(storm()).failed_count == clients * changes


def _fill(path: Path) -> None:
    """Writes until the disk takes no more."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 20)):
            continue


SMALL_DISK = 'mount -t tmpfs -o size=64m none "$0" && exec "$@"'


@pytest.mark.full
def test_the_stores_disk_may_be_full_for_a_while(tmp_path: Path) -> None:
    """The store runs on a file system of 64 MiB in a mount namespace of its own, which is filled and emptied."""
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody make a mount namespace")
    cluster = Cluster(tmp_path / "full")
    try:
        cluster.root.mkdir()
        cluster._prepare_store()
        command, environ = cluster.commands["store"]
        cluster._prepare_store = lambda: None  # type: ignore[method-assign]
        data = cluster.root / "store"
        cluster.commands["store"] = (["unshare", "-rm", "sh", "-c", SMALL_DISK, str(data), *command], environ)
        cluster.start_infrastructure()
        cluster.service("probe", name="api")
        jobs, text = Jobs(cluster.channel("api"), "probe"), uuid.uuid4().hex
        job = jobs.submit({"text": text, "task_count": 2, "steps": 40, "step_seconds": 0.1})
        jobs.until_running(job.id)
        filler = Path(f"/proc/{cluster.processes['store'].pid}/root{data}/filler")
        _fill(filler)
        time.sleep(4.0)
        filler.unlink()
        assert jobs.wait(job.id).state == SUCCEEDED
        assert sorted(done_tasks(jobs, job.id)) == ["0-0", "0-1", "1-0"]
        assert_whole(cluster, job.id, expected_lines(text, 2, 40))
    finally:
        cluster.stop()
