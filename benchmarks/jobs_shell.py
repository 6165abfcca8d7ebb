"""The processes of the shell's benchmark: an API, workers and their servers, a client of them, and what they spend."""

import asyncio
import os
import statistics
import sys
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from dragoman.job.v1 import job_pb2 as job
from dragoman.job.v1 import job_service_pb2 as pb
from dragoman.job.v1 import job_service_pb2_grpc

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from cluster import Cluster

ENDED = {job.JOB_STATE_SUCCEEDED, job.JOB_STATE_FAILED, job.JOB_STATE_CANCELLED}
_TICK = os.sysconf("SC_CLK_TCK")


def say(what: str, values: Any) -> None:
    """Tells the one who waits."""
    print(f"{what}: {values}", file=sys.stderr, flush=True)


def spread(seconds: list[float]) -> dict[str, float]:
    """Median and 99th percentile in milliseconds."""
    ordered = sorted(seconds)
    return {
        "p50_ms": round(statistics.median(ordered) * 1e3, 1),
        "p99_ms": round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1e3, 1),
    }


@dataclass
class Shell:
    """The processes, and a client of the API."""

    cluster: Cluster
    workers: int
    slots: int
    channel: grpc.aio.Channel = field(init=False)
    stub: Any = field(init=False)

    def __post_init__(self) -> None:
        self.cluster.channel("api").close()
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.cluster.ports['api']}")
        self.stub = job_service_pb2_grpc.JobServiceStub(self.channel)

    def start_workers(self) -> None:
        """Starts them; they are ready when their first task is done."""
        for number in range(self.workers):
            environ = {"PROBE_SLOTS": str(self.slots)}
            self.cluster.service("probe", "work", name=f"worker-{number}", environ=environ)

    def cpu(self) -> Counter[str]:
        """CPU seconds of each role until now, children included."""
        spent: Counter[str] = Counter()
        for name, process in self.cluster.processes.items():
            for pid in family(process.pid):
                spent[name.partition("-")[0]] += cpu_of(pid)
        spent["clients"] = time.process_time()
        return spent

    def memory(self) -> dict[str, int]:
        """Resident MiB of the API and of the workers without their children."""
        return {
            name: rss_mib(process.pid)
            for name, process in self.cluster.processes.items()
            if name not in {"nats", "store"}
        }

    async def patiently(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Calls until the API answers: it may be killed at any time."""
        deadline = time.monotonic() + 120
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                gone = error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
                if not gone or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)

    async def submit(self, tasks: int = 1) -> str:
        """Submits a job of which there is no other and returns its id."""
        request = submission(tasks)
        return (await self.patiently(lambda: self.stub.SubmitJob(request, timeout=60))).job.id

    async def wait(self, job_id: str) -> Any:
        """Returns a job when it has ended."""
        request = pb.WaitJobRequest(job_id=job_id)
        request.timeout.seconds = 30
        while True:
            found = (await self.patiently(lambda: self.stub.WaitJob(request, timeout=60))).job
            if found.state in ENDED:
                return found

    async def events(self, job_ids: list[str]) -> list[Any]:
        """Returns the events of jobs that have ended, or of all."""
        call = self.stub.WatchJobs(pb.WatchJobsRequest(job_ids=job_ids), timeout=600)
        return [answer.event async for answer in call]


def submission(tasks: int = 1) -> pb.SubmitJobRequest:
    """A request for a job of which there is no other."""
    request = pb.SubmitJobRequest(kind="empty", request_id=uuid.uuid4().hex)
    request.spec.update({"text": request.request_id, "task_count": tasks})
    return request


def family(pid: int) -> list[int]:
    """A process and those that it has started, and they."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(member for child in children for member in family(int(child)))]


def cpu_of(pid: int) -> float:
    """CPU seconds of a process until now."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICK


def rss_mib(pid: int) -> int:
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) // 1024


def each(after: Counter[str], before: Counter[str], count: float) -> dict[str, float]:
    """CPU milliseconds of each role for each of so many."""
    return {name: round((after[name] - before[name]) * 1e3 / count, 2) for name in after}
