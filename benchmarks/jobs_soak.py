"""Many small jobs from many clients, some cancelled at a random moment, while processes are killed."""

import asyncio
import random
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from dragoman.job.v1 import job_pb2 as job
from dragoman.job.v1 import job_service_pb2 as pb
from jobs_shell import Shell, each, say


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
