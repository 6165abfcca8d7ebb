"""What the shell promises when processes die, messages double and things outside go away."""

import concurrent.futures
import signal
import time
import uuid
from pathlib import Path

import grpc
import pytest
from dragoman.job.v1 import job_pb2, job_service_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.faults.checks import assert_whole, done_tasks, expected_lines
from tests.support.cluster import Cluster
from tests.support.jobs import CANCELLED, FAILED, SUCCEEDED, Jobs


def test_a_killed_worker_loses_nothing_and_doubles_nothing(cluster: Cluster, jobs: Jobs) -> None:
    text = uuid.uuid4().hex
    job = jobs.submit({"text": text, "task_count": 4, "steps": 15, "step_seconds": 0.1})
    jobs.until_running(job.id)
    cluster.restart("worker-1", away=0.3)
    time.sleep(1)
    cluster.restart("worker-2")
    assert jobs.wait(job.id).state == SUCCEEDED
    assert sorted(done_tasks(jobs, job.id)) == ["0-0", "0-1", "0-2", "0-3", "1-0"]
    assert_whole(cluster, job.id, expected_lines(text, 4, 15))


def test_a_resumed_task_starts_from_its_checkpoint(cluster: Cluster, jobs: Jobs) -> None:
    text = uuid.uuid4().hex
    job = jobs.submit({"text": text, "task_count": 1, "steps": 30, "step_seconds": 0.1})
    jobs.until_running(job.id)
    time.sleep(0.7)
    cluster.restart("worker-1")
    cluster.restart("worker-2")
    assert jobs.wait(job.id).state == SUCCEEDED
    starts = {e.progress.message for e in jobs.events(job.id) if e.progress.message}
    assert len(starts) == 2, f"expected a start from 0 and one from a checkpoint, saw {starts}"
    assert_whole(cluster, job.id, expected_lines(text, 1, 30))


def test_a_task_that_gets_on_from_checkpoint_to_checkpoint_is_not_given_up(cluster: Cluster, jobs: Jobs) -> None:
    text = uuid.uuid4().hex
    job = jobs.submit({"text": text, "task_count": 1, "steps": 5, "fail": "stumble"})
    assert jobs.wait(job.id).state == SUCCEEDED
    failed = [event for event in jobs.events(job.id) if event.failure.message]
    assert len(failed) == 4, "one more than a task may be started that does not get on"
    assert_whole(cluster, job.id, expected_lines(text, 1, 5))


def test_nats_and_store_may_die_in_the_middle(cluster: Cluster, jobs: Jobs) -> None:
    text = uuid.uuid4().hex
    first = jobs.submit({"text": text, "task_count": 4, "steps": 20, "step_seconds": 0.1})
    second = jobs.submit({"text": text + "-2", "task_count": 2, "steps": 2, "input_ids": [first.id]})
    jobs.until_running(first.id)
    cluster.restart("nats", away=1.0)
    time.sleep(1.0)
    cluster.restart("store", away=1.0)
    assert jobs.wait(second.id).state == SUCCEEDED
    lines = expected_lines(text, 4, 20)
    assert_whole(cluster, first.id, lines)
    assert_whole(cluster, second.id, expected_lines(text + "-2", 2, 2) + lines)
    assert sorted(done_tasks(jobs, first.id)) == ["0-0", "0-1", "0-2", "0-3", "1-0"]


def test_the_api_may_die_between_two_jobs_of_a_pipeline(cluster: Cluster, jobs: Jobs) -> None:
    text = uuid.uuid4().hex
    first = jobs.submit({"text": text, "task_count": 1, "steps": 10, "step_seconds": 0.1})
    second = jobs.submit({"text": text + "-2", "task_count": 1, "steps": 1, "input_ids": [first.id]})
    cluster.kill("api")
    time.sleep(2)
    cluster.start("api")
    fresh = Jobs(cluster.channel("api"), "probe")
    assert fresh.wait(second.id).state == SUCCEEDED


def test_a_task_that_always_kills_its_process_fails_its_job_only(cluster: Cluster, jobs: Jobs, tmp_path: Path) -> None:
    cause = tmp_path / "broken"
    cause.touch()
    bad = jobs.submit({"text": uuid.uuid4().hex, "task_count": 2, "fail": "crash", "fail_while": str(cause)})
    good = jobs.submit({"text": uuid.uuid4().hex, "task_count": 2})
    assert jobs.wait(good.id).state == SUCCEEDED
    failed = jobs.wait(bad.id)
    assert failed.state == FAILED
    assert failed.failure.reason == "TASK_CRASHED"
    assert "killed by SIGKILL" in failed.failure.message
    assert failed.failure.attempt_count == 3
    letters = jobs.stub.ListDeadLetters(job_service_pb2.ListDeadLettersRequest(job_id=bad.id)).dead_letters
    assert [letter.task_id for letter in letters] == ["0-0"]
    cause.unlink()
    jobs.stub.RetryJob(job_service_pb2.RetryJobRequest(job_id=bad.id))
    assert jobs.wait(bad.id).state == SUCCEEDED


def test_an_input_that_failed_is_told_to_dependents_and_mended_by_its_retry(
    cluster: Cluster, jobs: Jobs, tmp_path: Path
) -> None:
    cause = tmp_path / "broken"
    cause.touch()
    spec = {"text": uuid.uuid4().hex, "task_count": 1, "fail": "user", "fail_while": str(cause)}
    first = jobs.submit(spec)
    second = jobs.submit({"text": uuid.uuid4().hex, "input_ids": [first.id]})
    failed = jobs.wait(second.id)
    assert failed.failure.reason == "INPUT_FAILED"
    assert first.id in failed.failure.message
    assert "the probe's input is wrong" in failed.failure.message
    cause.unlink()
    jobs.stub.RetryJob(job_service_pb2.RetryJobRequest(job_id=first.id))
    assert jobs.wait(first.id).state == SUCCEEDED
    deadline = time.monotonic() + 30
    while jobs.get(second.id).state != SUCCEEDED:
        assert time.monotonic() < deadline, jobs.get(second.id)
        time.sleep(0.1)


def test_a_stalled_task_is_stopped_and_told(cluster: Cluster, tmp_path: Path) -> None:
    other = Cluster(
        cluster.root / "stall", {"DRAGOMAN_STALL_S": "6", "DRAGOMAN_NAMESPACE": "stall"}, ports=cluster.ports
    )
    other.root.mkdir()
    try:
        other.service("probe", name="stalling")
        jobs = Jobs(other.channel("stalling"), "probe")
        cause = tmp_path / "broken"
        cause.touch()
        job = jobs.submit({"text": uuid.uuid4().hex, "task_count": 1, "fail": "hang", "fail_while": str(cause)})
        stalled = next(e for e in jobs.events(job.id) if e.type == job_pb2.EVENT_TYPE_TASK_FAILED)
        assert stalled.failure.reason == "TASK_STALLED"
        cause.unlink()
        assert jobs.wait(job.id).state == SUCCEEDED
    finally:
        other.stop()


@pytest.mark.parametrize("moment", ["queued", "running"])
def test_cancelling_is_quick_and_leaves_nothing_visible(cluster: Cluster, jobs: Jobs, moment: str) -> None:
    job = jobs.submit({"text": uuid.uuid4().hex, "task_count": 6, "steps": 200, "step_seconds": 0.1})
    if moment == "running":
        jobs.until_running(job.id)
    started = time.monotonic()
    jobs.stub.CancelJob(job_service_pb2.CancelJobRequest(job_id=job.id))
    assert jobs.wait(job.id, 10).state == CANCELLED
    assert time.monotonic() - started < 10
    assert cluster.store().manifest(job.id) is None
    newest = [event.cursor for event in jobs.events(job.id)][-1]
    time.sleep(1)  # ten steps of each task
    assert [event.cursor for event in jobs.events(job.id)][-1] == newest, "work went on after CANCELLED"


def test_what_is_being_committed_is_not_cancelled(cluster: Cluster, jobs: Jobs) -> None:
    job = jobs.submit({"text": uuid.uuid4().hex, "task_count": 1, "steps": 1, "combine_seconds": 3.0})
    jobs.until_done(job.id, 2)
    answer = jobs.stub.CancelJob(job_service_pb2.CancelJobRequest(job_id=job.id)).job
    assert answer.state == job_pb2.JOB_STATE_CANCELLING
    assert jobs.wait(job.id, 20).state == SUCCEEDED
    assert cluster.store().manifest(job.id) is not None
    assert [e.type for e in jobs.events(job.id)][-1] == job_pb2.EVENT_TYPE_COMMITTED


def test_twenty_clients_submit_one_job(cluster: Cluster, jobs: Jobs) -> None:
    spec = {"text": uuid.uuid4().hex, "task_count": 2}
    request = job_service_pb2.SubmitJobRequest(kind="probe")
    request.spec.update(spec)
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: jobs.stub.SubmitJob(request, timeout=30), range(20)))
    assert len({answer.job.id for answer in answers}) == 1
    assert sum(answer.created for answer in answers) == 1
    job_id = answers[0].job.id
    assert jobs.wait(job_id).state == SUCCEEDED
    assert sorted(done_tasks(jobs, job_id)) == ["0-0", "0-1", "1-0"]


def test_a_request_id_belongs_to_one_spec(cluster: Cluster, jobs: Jobs) -> None:
    request_id, text = uuid.uuid4().hex, uuid.uuid4().hex
    first = jobs.submit({"text": text}, request_id=request_id)
    assert jobs.submit({"text": text}, request_id=request_id).id == first.id
    with pytest.raises(grpc.RpcError) as caught:
        jobs.submit({"text": text + "x"}, request_id=request_id)
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert first.id in caught.value.details()
    status = rpc_status.from_call(caught.value)
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.reason == "REQUEST_ID_REUSED"


def test_the_state_of_nats_may_be_lost_altogether(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "amnesia")
    try:
        cluster.start_infrastructure()
        cluster.service("probe", name="api")
        jobs = Jobs(cluster.channel("api"), "probe")
        spec = {"text": "memory", "task_count": 5, "steps": 12, "step_seconds": 0.1}
        done = jobs.submit({"text": "before"})
        assert jobs.wait(done.id).state == SUCCEEDED
        half = jobs.submit(spec)
        jobs.until_done(half.id)
        cluster.kill("api")
        cluster.kill("nats")
        for file in sorted((tmp_path / "amnesia" / "jetstream").rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        cluster.start("nats")
        cluster.start("api")
        jobs = Jobs(cluster.channel("api"), "probe")
        again = jobs.submit({"text": "before"})
        assert again.state == SUCCEEDED, "a committed artifact is a cache hit whatever NATS remembers"
        receipts = len(cluster.store().objects.list(f"receipts/{half.id}/"))
        assert receipts > 0, "the test must interrupt the job after its first task"
        assert jobs.submit(spec).id == half.id
        assert jobs.wait(half.id).state == SUCCEEDED
        assert len(done_tasks(jobs, half.id)) == 6 - receipts, "finished tasks are not done again"
        assert_whole(cluster, half.id, expected_lines("memory", 5, 12))
    finally:
        cluster.stop()


def test_a_worker_for_once_does_what_is_queued_and_ends(cluster: Cluster, jobs: Jobs) -> None:
    for name in ("worker-1", "worker-2"):
        cluster.kill(name, signal.SIGTERM)
    job = jobs.submit({"text": uuid.uuid4().hex, "task_count": 2, "steps": 2})
    try:
        once = cluster.processes[cluster.service("probe", "work", "--once", name="worker-once")]
        assert once.wait(60) == 0, cluster.log("worker-once")[-2000:]
        assert jobs.wait(job.id).state == SUCCEEDED
    finally:
        cluster.processes.pop("worker-once").kill()
        for name in ("worker-1", "worker-2"):
            cluster.start(name)
