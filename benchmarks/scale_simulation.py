"""A latents job of the size of 1B tokens x 131k latents, without a model: does time and memory per task stay flat?

Run as `.venv/bin/python benchmarks/scale_simulation.py`. Two simulations:

- merge: the real `invert` task of one shard of 128 latents, over a rising number of synthetic encoded parts, each with
  3,200 entries, as a part of 10^5 tokens at k 32 has of such a shard. In a process of its own; peak by VmHWM.
- jobs: records of jobs with 1,000 and with 9,766 tasks in the key-value store of a real NATS server, 8 of each, one for
  each hookpoint; how long it takes to mark a task done when none, half and nearly all are done, and the record's bytes.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from dragoman.artifacts import Manifest, PartInfo
from dragoman.bus import Bus, BusConfig
from dragoman.folder import FolderArtifact, file_sha256
from dragoman.jobs import JobRecord, JobState, StageRecord
from dragoman.kinds import Context, Part, Task
from dragoman.ledger import Ledger
from dragoman.manifests import MANIFEST_NAME, manifest_to_json
from dragoman.records import job_to_bytes
from safetensors.numpy import save_file

LATENTS, ENTRIES, ROWS, CTX_LEN, WINDOW = 128, 3200, 16, 256, 32
HOOKPOINTS, FEW, MANY, SAMPLE = 8, 1000, 9766, 100
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
    save_file({"offsets": offsets, "entries": entries}, path)


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
        save_file({"tokens": tokens, "documents": documents}, path)
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
        made = 0
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
            made += count
            print(found[-1], file=sys.stderr, flush=True)
    return found


async def simulate_jobs(url: str) -> list[dict[str, float]]:
    """Marks tasks done in records of many tasks."""
    bus = Bus(BusConfig(url=url, namespace="simulation"))
    await bus.connect()
    ledger = Ledger(bus)
    found: list[dict[str, float]] = []
    for task_count in (FEW, MANY):
        for share in (0.0, 0.5, 0.98):
            seconds, size = 0.0, 0
            for hookpoint in range(HOOKPOINTS):
                done = frozenset(range(int(task_count * share)))
                stages = (StageRecord("encode", task_count, done), StageRecord("draw", 1), StageRecord("invert", 1024))
                id_ = f"latents-{task_count * 10 + int(share * 9):028d}{hookpoint:04d}"
                job = JobRecord(id_, "latents", "activation", JobState.RUNNING, {"seed": 0}, {}, stages=stages)
                await ledger.create(job)
                begin = time.monotonic()
                for index in range(len(done), len(done) + SAMPLE // HOOKPOINTS):
                    await ledger.change(id_, lambda r, index=index: _with(r, index))
                seconds += time.monotonic() - begin
                size = len(job_to_bytes(await ledger.get(id_)))
            per_task = seconds / (HOOKPOINTS * (SAMPLE // HOOKPOINTS))
            found.append({"tasks": task_count, "done": share, "ms_per_task": per_task * 1e3, "record_bytes": size})
            print(found[-1], file=sys.stderr, flush=True)
    await bus.close()
    return found


def _with(record: JobRecord, index: int) -> JobRecord:
    first = record.stages[0]
    return replace(record, stages=(replace(first, done=first.done | {index}), *record.stages[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--work", type=Path, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--parts", type=int, nargs="+", default=[250, 500, 1000])
    options = parser.parse_args()
    if options.work is not None:
        merge(options.work, options.parts[0])
        return
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
    from cluster import Cluster  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder)).start_infrastructure()
        try:
            jobs = asyncio.run(simulate_jobs(cluster.settings["DRAGOMAN_NATS_URL"]))
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
        "merges": merges,
        "jobs": jobs,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
