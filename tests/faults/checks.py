"""What every fault test asks in the end: is the artifact whole, was each task told once, is anything left over?"""

import time

from dragoman.job.v1 import job_pb2

from tests.support.cluster import Cluster
from tests.support.jobs import Jobs


def expected_lines(text: str, tasks: int, steps: int) -> bytes:
    """What a probe job's artifact must hold, however rough its way there."""
    return "".join(f"{text} {n} {s}\n" for n in range(tasks) for s in range(steps)).encode()


def assert_whole(cluster: Cluster, job_id: str, expected: bytes) -> None:
    """The artifact holds exactly the expected bytes, nothing lies beside it, and nothing is left over."""
    store = cluster.store()
    artifact = store.artifact(job_id)
    assert artifact.read("all.txt") == expected
    listed = {part.key for part in artifact.manifest.parts} | {f"artifacts/probe/{job_id}/manifest.json"}
    expected_keys = {"artifacts": listed, "receipts": set[str](), "checkpoints": set[str]()}
    deadline = time.monotonic() + 10  # tidying up follows the commit
    while (left := leftovers(cluster, job_id)) != expected_keys:
        assert time.monotonic() < deadline, f"stray objects: {left}"
        time.sleep(0.1)


def leftovers(cluster: Cluster, job_id: str) -> dict[str, set[str]]:
    """Every object that the store holds for a job."""
    prefixes = {
        "artifacts": f"artifacts/probe/{job_id}/",
        "receipts": f"receipts/{job_id}/",
        "checkpoints": f"checkpoints/{job_id}/",
    }
    listed = cluster.store().objects.list
    return {name: {item.key for item in listed(prefix)} for name, prefix in prefixes.items()}


def done_tasks(jobs: Jobs, job_id: str) -> list[str]:
    """The tasks that were told to be done, in order."""
    return [event.task_id for event in jobs.events(job_id) if event.type == job_pb2.EVENT_TYPE_TASK_DONE]
