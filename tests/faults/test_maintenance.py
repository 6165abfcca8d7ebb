"""Garbage, deletion and the rebuilding of job records, on real servers."""

import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from dragoman.client import Client
from dragoman.errors import FailedPrecondition, InvalidSpec, NotFound
from dragoman.kinds import Part
from dragoman.store import Store

from tests.faults.checks import assert_whole, done_tasks, expected_lines
from tests.support.cluster import Cluster
from tests.support.jobs import FAILED, SUCCEEDED, Jobs

WEEK = 7 * 86_400.0


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Client]:
    """The Python client of the probe server."""
    with Client({"scorer": f"127.0.0.1:{cluster.ports['api']}"}) as client:
        yield client


def _keys(cluster: Cluster, job_id: str) -> set[str]:
    listed = cluster.store().objects.list
    prefixes = (f"artifacts/probe/{job_id}/", f"receipts/{job_id}/", f"checkpoints/{job_id}/")
    return {item.key for prefix in prefixes for item in listed(prefix)}


def _failed_job(jobs: Jobs, tmp_path: Path) -> str:
    """A job whose second stage fails for good, after the tasks of the first left parts and receipts."""
    cause = tmp_path / "broken"
    cause.touch()
    job = jobs.submit({"text": uuid.uuid4().hex, "task_count": 2, "fail": "user", "fail_while": str(cause)})
    assert jobs.wait(job.id).state == FAILED
    return job.id


def test_what_failed_jobs_left_goes_when_it_is_old_enough(
    cluster: Cluster, jobs: Jobs, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = uuid.uuid4().hex
    good = jobs.submit({"text": text, "task_count": 2, "steps": 2})
    assert jobs.wait(good.id).state == SUCCEEDED
    assert_whole(cluster, good.id, expected_lines(text, 2, 2))
    whole = _keys(cluster, good.id)
    store = cluster.store()
    stray = f"artifacts/probe/{good.id}/stray-0000000000000000.txt"
    orphan = f"probe-{uuid.uuid4().hex}"
    store.objects.put_bytes(stray, b"left by a worker that was late")
    store.put_part(orphan, Part("lost.txt", data=b"of no job"), 0, 0)
    bad = _failed_job(jobs, tmp_path)
    store.objects.put_bytes(f"receipts/{bad}/0-0.json", b"{}")
    assert client.collect_garbage(WEEK, delete=True) == [], "nothing is a week old"
    time.sleep(2.5)
    found = {line.reason: line for line in client.collect_garbage(2)}
    assert _keys(cluster, bad), "without delete nothing is removed"
    assert bad in found["of jobs that failed or were cancelled; a retry begins anew"].job_ids
    assert orphan in found["of no job that is known"].job_ids
    assert good.id in found["beside committed artifacts"].job_ids
    client.collect_garbage(2, delete=True)
    assert _keys(cluster, bad) == set()
    assert _keys(cluster, orphan) == set()
    assert _keys(cluster, good.id) == whole
    assert client.collect_garbage(2) == []
    assert store.artifact(good.id).read("all.txt")
    (tmp_path / "broken").unlink()
    assert jobs.wait(client.retry(bad).id).state == SUCCEEDED, "a retry begins anew"


def test_no_age_at_all_is_refused(client: Client) -> None:
    with pytest.raises(InvalidSpec, match=r"0.5 s is too short; expected at least 1 s"):
        client.collect_garbage(0.5)


def test_a_deleted_artifact_can_be_made_again(cluster: Cluster, jobs: Jobs, client: Client) -> None:
    spec = {"text": uuid.uuid4().hex, "task_count": 1, "steps": 1}
    first = jobs.submit(spec)
    second = jobs.submit({"text": uuid.uuid4().hex, "task_count": 1, "input_ids": [first.id]})
    assert jobs.wait(second.id).state == SUCCEEDED
    before = cluster.store().artifact(first.id).read("all.txt")
    with pytest.raises(FailedPrecondition, match=rf"{second.id} was made from {first.id}"):
        client.delete_artifact(first.id)
    assert client.delete_artifact(first.id, force=True) >= 2
    assert _keys(cluster, first.id) == set()
    assert first.id not in {job.id for job in client.list(limit=0)}
    with pytest.raises(NotFound):
        client.get(first.id)
    with pytest.raises(NotFound, match="there is no artifact and no job"):
        client.delete_artifact(first.id)
    again = jobs.submit(spec)
    assert again.id == first.id
    assert jobs.wait(again.id).state == SUCCEEDED
    assert cluster.store().artifact(first.id).read("all.txt") == before


def test_an_open_job_is_not_deleted(jobs: Jobs, client: Client) -> None:
    job = jobs.submit({"text": uuid.uuid4().hex, "task_count": 1, "steps": 50, "step_seconds": 0.1})
    jobs.until_running(job.id)
    with pytest.raises(FailedPrecondition, match="cancel it first"):
        client.delete_artifact(job.id)
    client.cancel(job.id)


def _back_up(source: Store, target: Store) -> None:
    """As docs/operations.md says: manifests first, then everything else. What is committed meanwhile is not in it."""
    for manifests in (True, False):
        for item in source.objects.list(""):
            if item.key.endswith("/manifest.json") is manifests:
                target.objects.put_bytes(item.key, source.objects.get_bytes(item.key) or b"")


def test_a_copy_of_the_bucket_made_while_work_goes_on_is_a_backup(cluster: Cluster, jobs: Jobs) -> None:
    done = jobs.submit({"text": uuid.uuid4().hex, "task_count": 1, "steps": 1})
    assert jobs.wait(done.id).state == SUCCEEDED
    text = uuid.uuid4().hex
    spec = {"text": text, "task_count": 4, "steps": 12, "step_seconds": 0.1}
    half = jobs.submit(spec)
    jobs.until_done(half.id)
    copy = cluster.store("restored")
    copy.probe()
    _back_up(cluster.store(), copy)
    environ = {"DRAGOMAN_NAMESPACE": "restored", "DRAGOMAN_S3_BUCKET": "restored"}
    other = Cluster(cluster.root / "restored", environ, ports=cluster.ports)
    other.root.mkdir()
    try:
        other.service("probe", name="restored")
        restored = Jobs(other.channel("restored"), "probe")
        with Client({"scorer": f"127.0.0.1:{other.ports['restored']}"}) as client:
            made, _ = client.rebuild_jobs()
            assert done.id in made
            assert half.id not in made
        for id_ in made:
            artifact = copy.artifact(id_)
            assert all(artifact.read(name) for name in artifact.names())
        receipts = len(copy.objects.list(f"receipts/{half.id}/"))
        assert 0 < receipts < 5, "the copy must be made in the middle of a job"
        assert restored.wait(restored.submit(spec).id).state == SUCCEEDED
        assert len(done_tasks(restored, half.id)) == 5 - receipts, "finished tasks are not done again"
        assert copy.artifact(half.id).read("all.txt") == expected_lines(text, 4, 12)
    finally:
        other.stop()


def test_job_records_come_back_from_the_store_alone(cluster: Cluster, jobs: Jobs) -> None:
    first = jobs.submit({"text": uuid.uuid4().hex, "task_count": 1, "steps": 1})
    second = jobs.submit({"text": uuid.uuid4().hex, "task_count": 1, "input_ids": [first.id]})
    assert jobs.wait(second.id).state == SUCCEEDED
    for name in ("api", "worker-1", "worker-2", "nats"):
        cluster.kill(name)
    shutil.rmtree(cluster.root / "jetstream")
    cluster.start("nats")
    cluster.wait_for_nats()
    for name in ("api", "worker-1", "worker-2"):
        cluster.start(name)
    cluster.channel("api")
    with Client({"scorer": f"127.0.0.1:{cluster.ports['api']}"}) as client:
        assert client.list(limit=0) == []
        made, count = client.rebuild_jobs()
        assert {first.id, second.id} <= set(made)
        assert len(made) == count
        records = {job.id: job for job in client.list(limit=0)}
        assert records[second.id].state.value == "SUCCEEDED"
        assert records[second.id].inputs == {"input.0": first.id}
        assert client.rebuild_jobs() == ((), count)
        again = Jobs(cluster.channel("api"), "probe")
        third = again.submit({"text": "more", "task_count": 1, "input_ids": [second.id]})
        assert client.wait(third.id, 60).state.value == "SUCCEEDED"
