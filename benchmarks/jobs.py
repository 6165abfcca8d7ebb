"""The shell alone, under jobs that do nothing: what a submission, a task and an idle process cost, and what gets lost.

python benchmarks/jobs.py [--jobs 600] [--clients 50] [--workers 2] [--slots 2] [--restarts 0] [--cancels 0.02]

A real NATS server (each write on disk before it is answered) and object store, one API, workers, and this process with
all clients. In turn:

- floor: what NATS takes to put a value and the store to put an object, by themselves, one after the other and many at
  once. A submission is one turn for the request id, one for the job, one for two events and the tasks.
- submit: one client, then all at once, no worker yet: accepted and on disk. Latency seen by a client; CPU of all.
- drain: the workers start and do what was submitted.
- idle: CPU of everything while nothing happens.
- one at a time: a job is submitted when the one before has ended. From QUEUED to STARTED, from the last task's end to
  the commit, and from submission to commit, by the event log's times.
- many tasks: one job of 300 tasks.
- soak: jobs of 1 to 3 tasks from all clients, some cancelled at a random moment, while API, workers, NATS and store are
  killed and started again at random. Each job must end; none may be committed twice, no task told twice; manifests in
  the store are those of the jobs that succeeded. Memory of API and workers at the start and at the end.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import nats
from dragoman.job.v1 import job_pb2 as job
from dragoman.job.v1 import job_service_pb2 as pb
from dragoman.job.v1 import job_service_pb2_grpc

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from cluster import Cluster

GOAL_JOBS_PER_SECOND, GOAL_SUBMIT_MS = 300.0, 5.0
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
        request = pb.SubmitJobRequest(kind="empty", request_id=uuid.uuid4().hex)
        request.spec.update({"text": request.request_id, "task_count": tasks})
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


async def measure_floor(cluster: Cluster, clients: int) -> dict[str, Any]:
    """NATS and the store alone, with values as large as a job's record."""
    connection, value, taken = await nats.connect(cluster.settings["DRAGOMAN_NATS_URL"]), bytes(500), list[float]()
    bucket = await connection.jetstream().create_key_value(bucket="floor")

    async def put(count: int, name: str) -> None:
        for number in range(count):
            began = time.perf_counter()
            await bucket.put(f"{name}.{number}", value)
            taken.append(time.perf_counter() - began)

    before = cpu_of(cluster.processes["nats"].pid)
    await put(300, "one")
    alone = spread(taken)
    began = time.perf_counter()
    await asyncio.gather(*(put(30, str(client)) for client in range(clients)))
    seconds = time.perf_counter() - began
    spent = (cpu_of(cluster.processes["nats"].pid) - before) / len(taken)
    await connection.close()
    objects, taken = cluster.store().objects, list[float]()
    for number in range(100):
        start = time.perf_counter()
        await asyncio.to_thread(objects.put_bytes, f"floor/{number}", value)
        taken.append(time.perf_counter() - start)
    return {
        "nats_put": {
            **alone,
            "per_second_at_once": round(clients * 30 / seconds, 1),
            "nats_cpu_ms": round(spent * 1e3, 2),
        },
        "store_put": spread(taken),
    }


async def measure_submit(shell: Shell, count: int, clients: int) -> dict[str, Any]:
    """So many submissions from so many clients at once."""
    taken: list[float] = []

    async def client(share: int) -> None:
        for _ in range(share):
            began = time.perf_counter()
            await shell.submit()
            taken.append(time.perf_counter() - began)

    before, began = shell.cpu(), time.perf_counter()
    await asyncio.gather(*(client(count // clients) for _ in range(clients)))
    seconds = time.perf_counter() - began
    made = len(taken)
    return {
        "clients": clients,
        "per_second": round(made / seconds, 1),
        **spread(taken),
        "cpu_ms": each(shell.cpu(), before, made),
    }


async def measure_idle(shell: Shell, seconds: float) -> dict[str, float]:
    """CPU of each role in thousandths of a core while nothing happens."""
    before = shell.cpu()
    await asyncio.sleep(seconds)
    return each(shell.cpu(), before, seconds)


async def measure_one_by_one(shell: Shell, count: int) -> dict[str, Any]:
    """Jobs that do not wait for one another."""
    before, ids = shell.cpu(), list[str]()
    for _ in range(count):
        ids.append(await shell.submit())
        await shell.wait(ids[-1])
    spent = each(shell.cpu(), before, count)
    starts, commits, whole = list[float](), list[float](), list[float]()
    for job_id in ids:
        at = {event.type: event.event_time.ToNanoseconds() / 1e9 for event in await shell.events([job_id])}
        starts.append(at[job.EVENT_TYPE_STARTED] - at[job.EVENT_TYPE_QUEUED])
        commits.append(at[job.EVENT_TYPE_COMMITTED] - at[job.EVENT_TYPE_TASK_DONE])
        whole.append(at[job.EVENT_TYPE_COMMITTED] - at[job.EVENT_TYPE_CREATED])
    return {
        "event_to_start": spread(starts),
        "task_done_to_commit": spread(commits),
        "created_to_commit": spread(whole),
        "cpu_ms": spent,
    }


async def measure_tasks(shell: Shell, count: int) -> dict[str, Any]:
    """One job of many tasks."""
    before, began = shell.cpu(), time.perf_counter()
    await shell.wait(await shell.submit(count))
    return {
        "tasks_per_second": round(count / (time.perf_counter() - began), 1),
        "cpu_ms": each(shell.cpu(), before, count),
    }


@dataclass
class Soak:
    """Many clients, random cancels, random deaths."""

    shell: Shell
    jobs: int
    clients: int
    cancels: float
    restarts: int
    random: random.Random
    tasks: dict[str, int] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)

    async def run(self) -> dict[str, Any]:
        """Runs it and returns what came of it."""
        shell, since = self.shell, time.time()
        before, memory, began = shell.cpu(), shell.memory(), time.perf_counter()
        left = iter(range(self.jobs))
        killing = asyncio.gather(self._kill(), self._supervise())
        await asyncio.gather(*(self._client(left) for _ in range(self.clients)))
        seconds = time.perf_counter() - began
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)
        spent = each(shell.cpu(), before, self.jobs) if not self.kills else {}
        return {
            "jobs": len(self.ended),
            "tasks": sum(self.tasks.values()),
            "jobs_per_second": round(self.jobs / seconds, 2),
            "tasks_per_second": round(sum(self.tasks.values()) / seconds, 2),
            "states": dict(
                Counter(job.JobState.Name(state).removeprefix("JOB_STATE_") for state in self.ended.values())
            ),
            "kills": dict(self.kills),
            "cpu_ms_per_job": spent,
            "memory_mib": {name: [memory.get(name, 0), now] for name, now in shell.memory().items()},
            **await self._check(since),
        }

    async def _client(self, left: Any) -> None:
        for _ in left:
            tasks = self.random.randint(1, 3)
            job_id = await self.shell.submit(tasks)
            self.tasks[job_id] = tasks
            if self.random.random() < self.cancels:
                await asyncio.sleep(self.random.uniform(0.0, 1.0))
                await self._cancel(job_id)
            self.ended[job_id] = (await self.shell.wait(job_id)).state

    async def _cancel(self, job_id: str) -> None:
        try:
            await self.shell.patiently(
                lambda: self.shell.stub.CancelJob(pb.CancelJobRequest(job_id=job_id), timeout=30)
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:  # it had succeeded
                raise

    async def _kill(self) -> None:
        cluster = self.shell.cluster
        workers = [name for name in cluster.processes if name.startswith("worker")]
        for _ in range(self.restarts):
            await asyncio.sleep(self.random.uniform(2.0, 10.0))
            victim = self.random.choice(["api", "nats", "store", self.random.choice(workers)])
            self.kills[victim.partition("-")[0]] += 1
            await asyncio.to_thread(cluster.restart, victim, self.random.uniform(0.0, 1.5))

    async def _supervise(self) -> None:
        """Starts what ended by itself, as systemd or Kubernetes would, and tells of it."""
        cluster = self.shell.cluster
        while True:
            await asyncio.sleep(1.0)
            for name, process in list(cluster.processes.items()):
                if process.poll() is not None:
                    self.kills[f"{name.partition('-')[0]} ended by itself"] += 1
                    say(f"{name} ended with {process.returncode}", cluster.log(name)[-400:])
                    cluster.start(name)

    async def _check(self, since: float) -> dict[str, int]:
        """Counts what is not as it should be."""
        told: dict[str, Counter[Any]] = defaultdict(Counter)
        for event in await self.shell.patiently(lambda: self.shell.events([])):
            if event.job_id in self.tasks and event.type in {job.EVENT_TYPE_TASK_DONE, job.EVENT_TYPE_COMMITTED}:
                told[event.job_id][event.type, event.task_id] += 1
        succeeded = {id_ for id_, state in self.ended.items() if state == job.JOB_STATE_SUCCEEDED}
        keys = [item.key for item in self.shell.cluster.store().objects.list("artifacts/empty/")]
        committed = {key.split("/")[2] for key in keys if key.endswith("/manifest.json")} & set(self.tasks)
        return {
            "lost": self.jobs - len(self.ended) + sum(s == job.JOB_STATE_FAILED for s in self.ended.values()),
            "doubled": sum(any(n > 1 for n in counts.values()) for counts in told.values()),
            "succeeded_without_manifest": len(succeeded - committed),
            "manifest_without_success": len(committed - succeeded),
            "tasks_untold": sum(self._untold(id_, told[id_]) for id_ in succeeded),
        }

    def _untold(self, job_id: str, counts: Counter[Any]) -> int:
        return self.tasks[job_id] - sum(type_ == job.EVENT_TYPE_TASK_DONE for type_, _ in counts)


async def measure(cluster: Cluster, options: argparse.Namespace) -> dict[str, Any]:
    """Every measurement in turn."""
    shell = Shell(cluster, options.workers, options.slots)
    await shell.submit()
    found: dict[str, Any] = {"floor": await measure_floor(cluster, options.clients)}
    say("floor", found["floor"])
    found["submit_one"] = await measure_submit(shell, 200, 1)
    say("submit, one client", found["submit_one"])
    found["submit_many"] = await measure_submit(shell, options.clients * 20, options.clients)
    say("submit, many clients", found["submit_many"])
    if options.submit_only:
        await shell.channel.close()
        return found
    shell.start_workers()
    began = time.perf_counter()
    await shell.wait(await shell.submit())  # behind all the others
    found["drain_jobs_per_second"] = round((options.clients * 20 + 202) / (time.perf_counter() - began), 1)
    say("drain, jobs a second", found["drain_jobs_per_second"])
    found["idle_cpu_thousandths"] = await measure_idle(shell, 15.0)
    say("idle, thousandths of a core", found["idle_cpu_thousandths"])
    found["one_by_one"] = await measure_one_by_one(shell, 40)
    say("one by one", found["one_by_one"])
    found["many_tasks"] = await measure_tasks(shell, 300)
    say("many tasks", found["many_tasks"])
    draw = random.Random(options.seed)
    soak = Soak(shell, options.jobs, options.clients, options.cancels, options.restarts, draw)
    found["soak"] = await soak.run()
    say("soak", found["soak"])
    await shell.channel.close()
    return found


def main() -> int:
    """Prints what was found and, last, one JSON object; 1 when a job was lost or doubled."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--jobs", type=int, default=600)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--submit-only", action="store_true", help="the floor and the submissions alone")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--restarts", type=int, default=0)
    parser.add_argument("--cancels", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder))
        try:
            cluster.start_infrastructure().service("probe", "serve", name="api")
            found = asyncio.run(measure(cluster, options))
        finally:
            cluster.stop()
    soak: dict[str, int] = found.get("soak", {})
    bad = sum(soak.get(name, 0) for name in ("lost", "doubled", "succeeded_without_manifest", "tasks_untold"))
    result = {
        "name": "jobs",
        "ratio": round(found["submit_many"]["per_second"] / GOAL_JOBS_PER_SECOND, 4),
        "goal": 1.0,
        "what": f"jobs accepted and on disk a second against {GOAL_JOBS_PER_SECOND:.0f}",
        "submit_p50_ms": found["submit_one"]["p50_ms"],
        "submit_p50_goal_ms": GOAL_SUBMIT_MS,
        "cores": os.cpu_count(),
        **found,
    }
    print(json.dumps(result))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
