"""The shell alone, under jobs that do nothing: what a submission, a task and an idle process cost, and what gets lost.

python benchmarks/jobs.py [--jobs 600] [--clients 50] [--workers 2] [--slots 2] [--restarts 0] [--cancels 0.02]

A real NATS server (each write on disk before it is answered) and object store, one API, workers, and this process with
all clients. In turn:

- floor: a call that answers at once, the writes of a submission (one turn for the request id, one for the job, one for
  its event and the tasks), one put of its record, and an object put in the store: each by itself, one after the other
  and many at once.
- submit: one client, then all at once, no worker yet: accepted and on disk. Latency seen by a client; CPU of all.
- drain: the workers start and do what was submitted.
- idle: CPU of everything while nothing happens.
- one at a time: a job is submitted when the one before has ended. From CREATED to STARTED, from the last task's end to
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
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dragoman.job.v1 import job_pb2 as job
from jobs_floor import measure_floor
from jobs_shell import Cluster, Shell, each, say, spread
from jobs_soak import Soak

GOAL_JOBS_PER_SECOND, GOAL_SUBMIT_MS = 300.0, 5.0


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
        starts.append(at[job.EVENT_TYPE_STARTED] - at[job.EVENT_TYPE_CREATED])
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
        "submit_p50_floor_ms": round(sum(found["floor"][part]["p50_ms"] for part in ("call", "nats_writes")), 1),
        "cores": os.cpu_count(),
        **found,
    }
    print(json.dumps(result))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
