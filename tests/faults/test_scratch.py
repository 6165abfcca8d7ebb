"""A task's files go with its process, however that ended."""

import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from dragoman.job.v1 import job_service_pb2

from tests.support.cluster import Cluster
from tests.support.jobs import CANCELLED, Jobs


@pytest.fixture
def worker(cluster: Cluster, tmp_path: Path) -> Iterator[Cluster]:
    """A server with a worker, whose temporary folder is `tmp_path`."""
    environ = {"DRAGOMAN_NAMESPACE": "scratch", "TMPDIR": str(tmp_path)}
    other = Cluster(cluster.root / "scratch", environ, ports=cluster.ports)
    other.root.mkdir()
    try:
        other.service("probe", name="scratch")
        yield other
    finally:
        other.stop()


def slow_job(worker: Cluster) -> tuple[Jobs, str]:
    """Submits a job that would take a minute, and returns when it runs."""
    jobs = Jobs(worker.channel("scratch"), "probe")
    job = jobs.submit({"text": uuid.uuid4().hex, "task_count": 1, "steps": 600, "step_seconds": 0.1})
    jobs.until_running(job.id)
    return jobs, job.id


def until(count: int, folder: Path, pattern: str) -> None:
    """Returns when so many files match."""
    deadline = time.monotonic() + 20
    while len(found := list(folder.glob(pattern))) != count:
        assert time.monotonic() < deadline, f"expected {count}, found {found}"
        time.sleep(0.1)


def test_no_file_stays_behind(worker: Cluster, tmp_path: Path) -> None:
    jobs, job_id = slow_job(worker)
    until(1, tmp_path, "dragoman-work-*/0/task-*/work")
    jobs.stub.CancelJob(job_service_pb2.CancelJobRequest(job_id=job_id))
    assert jobs.wait(job_id, 20).state == CANCELLED
    until(0, tmp_path, "dragoman-work-*/0")  # the child was killed, its worker lives on

    slow_job(worker)
    (before,) = tmp_path.glob("dragoman-work-*")
    worker.restart("scratch")
    until(1, tmp_path, "dragoman-work-*/0/task-*/work")
    (after,) = tmp_path.glob("dragoman-work-*")
    assert before != after, "what a killed worker left is removed by the next one"

    worker.kill("scratch", signal.SIGTERM)
    until(0, tmp_path, "dragoman-work-*")
