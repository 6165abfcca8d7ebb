"""A latents job of the size of 1B tokens x 131k latents, without a model: does time and memory per task stay flat?

Run as `.venv/bin/python benchmarks/scale_simulation.py`. Two simulations:

- merge: the real `invert` task of one shard of 128 latents, over a rising number of synthetic encoded parts, each with
  3,200 entries, as a part of 10^5 tokens at k 32 has of such a shard. In a process of its own; peak by VmHWM.
- jobs: jobs of 1,000, 10,000 and 50,000 tasks in one stage (a plan may have 10,000), through the real planner on a real
  NATS server and object store. What queueing a task takes, and what all that is written for a done one takes when none,
  half and nearly all are done: CPU of the worker's process and of the NATS server, bytes sent to it.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from activation.core.entries import EncodedEntries
from activation.encoded_part import write_encoded
from dragoman import planner, stages
from dragoman.artifacts import Manifest, PartInfo
from dragoman.bus import Bus, BusConfig
from dragoman.folder import FolderArtifact, file_sha256
from dragoman.jobs import JobRecord, JobState
from dragoman.kinds import Context, Part, Spec, Stage, Task
from dragoman.ledger import Ledger
from dragoman.manifests import MANIFEST_NAME, manifest_to_json
from dragoman.records import Attempts, Lease, Receipt, job_to_bytes
from dragoman.store import Store
from dragoman.task_set import TaskSet
from dragoman.worker.loop import acknowledge
from latent_cache.token_shard import write_token_shard

LATENTS, ENTRIES, ROWS, CTX_LEN, WINDOW = 128, 3200, 16, 256, 32
TASKS, SAMPLE, TURN = (1_000, 10_000, 50_000), 100, 20
GOAL = 1.25


def _part(path: Path, seed: int) -> None:
    """Encoded entries of 16 rows: latent and place at random, each pair once."""
    generator = np.random.default_rng(seed)
    cells = np.sort(generator.choice(LATENTS * ROWS * CTX_LEN, ENTRIES, replace=False))
    latents, places = np.divmod(cells, ROWS * CTX_LEN)
    entries = np.empty((ENTRIES, 5), np.int32)
    entries[:, 0] = places
    entries[:, 1] = generator.exponential(1.0, ENTRIES).astype(np.float32).view(np.int32)
    entries[:, 2:4] = generator.zipf(1.3, (ENTRIES, 2)) % 50_000
    entries[:, 4] = places % CTX_LEN // WINDOW * WINDOW
    offsets = np.searchsorted(latents, np.arange(LATENTS + 1)).astype(np.int64)
    write_encoded(path, EncodedEntries(offsets, entries), LATENTS)


def _info(path: Path, **metadata: Any) -> PartInfo:
    return PartInfo(path.name, path.name, path.stat().st_size, file_sha256(path), metadata=metadata)


def _tokens(folder: Path, part_count: int) -> None:
    folder.mkdir()
    infos: list[PartInfo] = []
    for low in range(0, part_count, 250):
        rows = 250 * ROWS
        tokens = (np.arange(rows * CTX_LEN, dtype=np.int32) % 50_000).reshape(rows, CTX_LEN)
        documents = np.repeat(np.arange(rows, dtype=np.int32) + low * ROWS, CTX_LEN).reshape(rows, CTX_LEN)
        path = folder / f"rows-{low:05d}.safetensors"
        write_token_shard(path, tokens, documents)
        infos.append(_info(path, first_row=low * ROWS))
    statistics: Any = {
        "ctx_len": CTX_LEN,
        "row_count": part_count * ROWS,
        "train_row_count": part_count * ROWS * 4 // 5,
    }
    manifest = Manifest(f"tokens-{'0' * 32}", "tokens", 1, {}, {}, infos, statistics)
    (folder / MANIFEST_NAME).write_bytes(manifest_to_json(manifest))


def merge(work: Path, part_count: int) -> None:
    """The child: makes nothing, merges what `work` has; prints seconds and peak."""
    from activation import draw_run, invert_run
    from activation.spec import LatentsSpec

    spec = LatentsSpec.model_validate({"tokens_id": "t", "coder_id": "c", "model": {"source": "m"}})
    inputs = {"tokens": FolderArtifact(work / "tokens")}
    encoded = [_info(work / "own" / f"encoded-{i:05d}.safetensors", first_row=i * ROWS) for i in range(part_count)]
    own = FolderArtifact(work / "own", Manifest("latents-own", "latents", 2, {}, {}, encoded, {}))
    (work / "scratch").mkdir()
    task = Task(1, 0, {"rows": [[0, part_count * ROWS]]})
    for said in draw_run.draw(spec, Context("j", task, inputs, {0: encoded}, own, None, work / "scratch")):
        if isinstance(said, Part):
            (work / "own" / said.name).write_bytes(said.data or b"")
    drawn = _info(work / "own" / draw_run.DRAWN_NAME)
    own = FolderArtifact(work / "own", Manifest("latents-own", "latents", 2, {}, {}, [*encoded, drawn], {}))
    task = Task(2, 0, {"first": 0, "end": LATENTS})
    context = Context("j", task, inputs, {0: encoded, 1: [drawn]}, own, None, work / "scratch")
    begin = time.monotonic()
    for _ in invert_run.invert(spec, context):
        pass
    seconds = time.monotonic() - begin
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    print(json.dumps({"parts": part_count, "seconds": seconds, "peak_bytes": peak}))


def simulate_merge(counts: list[int]) -> list[dict[str, float]]:
    """Runs the merge over so many parts, each in a process of its own."""
    found: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            work = Path(folder) / str(count)
            (work / "own").mkdir(parents=True)
            for i in range(count):
                _part(work / "own" / f"encoded-{i:05d}.safetensors", i)
            _tokens(work / "tokens", count)
            command = [sys.executable, __file__, "--work", str(work), "--parts", str(count)]
            environ = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=environ)
            found.append(json.loads(done.stdout.splitlines()[-1]))
            print(found[-1], file=sys.stderr, flush=True)
    return found


class _BulkSpec(Spec):
    task_count: int


class _Bulk:
    """A kind of nothing but tasks."""

    name, version, description, spec, input_kinds = "bulk", 1, "Tasks.", _BulkSpec, dict[str, str]()

    def inputs(self, spec: _BulkSpec) -> dict[str, str]:
        return {}

    def resolve(self, spec: _BulkSpec) -> _BulkSpec:
        return spec

    def check(self, spec: _BulkSpec, inputs: Any) -> None:
        return

    def plan(self, spec: _BulkSpec, inputs: Any) -> list[Stage]:
        return [Stage("encode", [{"first": n * ROWS, "end": (n + 1) * ROWS} for n in range(spec.task_count)])]


@dataclass
class _Shell:
    """What a worker's own process holds, without its child, and one job."""

    task_count: int
    bus: Bus
    ledger: Ledger
    planner: planner.Planner
    nats_pid: int
    consumer: Any = None

    @property
    def id(self) -> str:
        """The job."""
        return f"bulk-{self.task_count:032d}"

    def spent(self) -> np.ndarray:
        """CPU seconds of this process and of the NATS server, and bytes sent to it, until now."""
        fields = Path(f"/proc/{self.nats_pid}/stat").read_text().rpartition(")")[2].split()
        nats = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        assert self.bus._nc is not None
        return np.array([time.process_time(), nats, float(self.bus._nc.stats["out_bytes"])])

    def row(self, step: str, spent: np.ndarray, count: int, **more: Any) -> dict[str, Any]:
        """One line of the result."""
        ours, nats, sent = (spent / count).tolist()
        costs = {"cpu_ms": round(ours * 1e3, 3), "nats_cpu_ms": round(nats * 1e3, 3), "bytes_sent": round(sent)}
        return {"tasks": self.task_count, "step": step, **costs, **more}


async def _queue(shell: _Shell) -> dict[str, Any]:
    """Plans the job and queues its tasks."""
    spec = {"task_count": shell.task_count}
    await shell.ledger.create(JobRecord(shell.id, "bulk", "bulk", JobState.WAITING, spec, {}))
    before = shell.spent()
    await shell.planner.examine(shell.id)
    shell.consumer = await shell.bus.work_consumer("bulk")
    return shell.row("queue", shell.spent() - before, shell.task_count)


async def _do(shells: list[_Shell], share: float) -> list[dict[str, Any]]:
    """Does some tasks of each job, in turns, so that a busy machine is as busy for each."""
    spent = {shell.task_count: np.zeros(3) for shell in shells}
    for shell in shells:
        await _skip(shell, int((shell.task_count - SAMPLE - 1) * share))
    for _ in range(SAMPLE // TURN):
        for shell in shells:
            before = shell.spent()
            for message in await shell.consumer.fetch(TURN, timeout=30):
                await _task(shell, message)
            spent[shell.task_count] += shell.spent() - before
    found: list[dict[str, Any]] = []
    for shell in shells:
        size = len(job_to_bytes(await shell.ledger.get(shell.id)))
        found.append(shell.row("do", spent[shell.task_count], SAMPLE, done=share, record_bytes=size))
        print(found[-1], file=sys.stderr, flush=True)
    return found


async def _skip(shell: _Shell, until: int) -> None:
    """Takes tasks off the queue and marks them done, all at once."""
    at = len((await shell.ledger.get(shell.id)).stages[0].done)
    while at < until:
        messages = await shell.consumer.fetch(min(500, until - at), timeout=30)
        for message in messages:
            await message.ack()
        at += len(messages)
    await shell.bus.js.account_info()  # answered when all that was sent before is taken
    await shell.ledger.change(
        shell.id, lambda r: replace(r, stages=(replace(r.stages[0], done=TaskSet.of(range(at))),))
    )


async def _task(shell: _Shell, message: Any) -> None:
    """All that a worker writes for a task: attempt, lease, receipt, record, event, acknowledgement."""
    body = json.loads(message.data)
    id_, task_id = body["job_id"], f"0-{body['index']}"
    record = await shell.ledger.get(id_)
    await shell.ledger.record_attempts(id_, task_id, Attempts(1))
    await shell.ledger.hold(id_, task_id, Lease("simulation", 1))
    await shell.ledger.release(id_, task_id)
    part = PartInfo(f"encoded-{body['index']:05d}.safetensors", f"artifacts/bulk/{id_}/encoded", ENTRIES, "0" * 64)
    await shell.planner.complete_task(record, Receipt(task_id, (part,)))
    await acknowledge(message)


async def simulate_jobs(url: str, store: Store, nats_pid: int) -> list[dict[str, Any]]:
    """Jobs of several numbers of tasks, with the real planner, on a real NATS server and object store."""
    stages.MAX_TASKS = max(TASKS)  # lifted here alone, to see beyond it
    kinds: Any = {"bulk": _Bulk()}
    shells: list[_Shell] = []
    for count in TASKS:
        bus = Bus(BusConfig(url=url, namespace=f"simulation{count}"))
        await bus.connect()
        ledger = Ledger(bus)
        shells.append(_Shell(count, bus, ledger, planner.Planner("bulk", kinds, ledger, bus, store, {}), nats_pid))
    found = [await _queue(shell) for shell in shells]
    for share in (0.0, 0.5, 1.0):
        found += await _do(shells, share)
    for shell in shells:
        await shell.bus.close()
    return found


def growth(jobs: list[dict[str, Any]], what: str) -> float:
    """Returns how much more a task takes in the largest job than in the smallest."""
    of = {count: sum(row[what] for row in jobs if row["step"] == "do" and row["tasks"] == count) for count in TASKS}
    return round(of[TASKS[-1]] / of[TASKS[0]], 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--work", type=Path, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--parts", type=int, nargs="+", default=[125, 250, 500])
    options = parser.parse_args()
    if options.work is not None:
        merge(options.work, options.parts[0])
        return
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
    from cluster import Cluster  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder)).start_infrastructure()
        try:
            url, pid = cluster.settings["DRAGOMAN_NATS_URL"], cluster.processes["nats"].pid
            jobs = asyncio.run(simulate_jobs(url, cluster.store(), pid))
        finally:
            cluster.stop()
    merges = simulate_merge(options.parts)
    first, last = merges[0], merges[-1]
    result: dict[str, Any] = {
        "name": "scale_simulation",
        "ratio": round(last["peak_bytes"] / first["peak_bytes"], 4),
        "goal": GOAL,
        "what": f"peak memory of an invert task over {last['parts']} parts against {first['parts']}",
        "seconds_per_part_ratio": round((last["seconds"] / last["parts"]) / (first["seconds"] / first["parts"]), 3),
        "cpu_per_task_ratio": growth(jobs, "cpu_ms"),
        "nats_cpu_per_task_ratio": growth(jobs, "nats_cpu_ms"),
        "bytes_per_task_ratio": growth(jobs, "bytes_sent"),
        "merges": merges,
        "jobs": jobs,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
