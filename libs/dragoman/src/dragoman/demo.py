"""`dragoman demo`: real text and a real model to a scorecard with its null, on this machine."""

import json
import os
import time
from argparse import Namespace
from collections.abc import Mapping
from contextlib import ExitStack
from importlib import resources
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dragoman import models
from dragoman.cli._board import Board, follow
from dragoman.client import Addresses, Client
from dragoman.errors import FailureClass
from dragoman.jobs import JobRecord, JobState
from dragoman.pipeline import Pipeline, parse
from dragoman.stack import JUDGE, STACK_FILE, LlmChoice, Stack

SUBJECT = "smollm2-135m-instruct"
CORPUS = "sotu"


def run(home: Path, options: Namespace) -> int:
    """Runs the demo under `home` and returns the exit code: 0 when the scorecard is there.

    `options.set` overrides variables of demo.yaml, `options.judge` the language model that explains and judges,
    `options.llm` the engine that serves it.
    """
    console: Console = getattr(options, "console", None) or Console()
    started = time.monotonic()
    model, corpus = _assets(home, console)
    judge = LlmChoice(options.judge or JUDGE, engine=options.llm)
    overrides = {"model": str(model), "corpus": str(corpus), **getattr(options, "set", {})}
    pipeline = parse(_pipeline_text(), "demo.yaml", overrides)
    with ExitStack() as stack:
        if not _stack_runs(home):
            console.print("Starting the stack: NATS, object store, judge, four services")
            stack.enter_context(Stack(home, judge, say=lambda line: console.print(f"  {line}", style="dim")))
        client = stack.enter_context(Client(Addresses.find({}, home)))
        jobs = _run_pipeline(client, pipeline, console)
        return _show(client, home, jobs, console, time.monotonic() - started)


def _stack_runs(home: Path) -> bool:
    """True when a stack of this home lives; its file may have outlived it."""
    try:
        os.kill(int(json.loads((home / STACK_FILE).read_text())["pid"]), 0)
    except (OSError, ValueError, KeyError):
        return False
    return True


def _assets(home: Path, console: Console) -> tuple[Path, Path]:
    """Returns the subject model as a folder that loads fast, and the corpus. Downloads them once."""
    paths: list[Path] = []
    for name in (SUBJECT, CORPUS, JUDGE):
        if models.local_path(name, home).exists():
            paths.append(models.pull(name, home))
            continue
        console.print(f"Fetching {name} ({models.find(name).role.value})")
        with models.bar(name) as progress:
            paths.append(models.pull(name, home, progress))
    folder = paths[0].with_suffix("")
    if not folder.exists():
        console.print("Converting the subject model, once")
    return models.convert_gguf(paths[0], folder), paths[1]


def _pipeline_text() -> str:
    return resources.files("dragoman").joinpath("demo.yaml").read_text()


def _run_pipeline(client: Client, pipeline: Pipeline, console: Console) -> Mapping[str, JobRecord]:
    """Submits everything at once, shows it until all of it has ended, and returns the jobs by name."""
    asked = time.time()
    jobs = client.submit_pipeline(pipeline)
    for name, job in jobs.items():
        failure = job.failure
        if job.state is JobState.CANCELLED or (failure and failure.failure_class is not FailureClass.INPUT):
            console.print(f"Trying {name} again: it was {job.state.lower()}")
            client.retry(job.id)
    jobs = {name: client.get(job.id) for name, job in jobs.items()}
    done = sum(job.state is JobState.SUCCEEDED for job in jobs.values())
    console.print(f"{len(jobs)} jobs, {done} of them committed already")
    still_open = [job.id for job in jobs.values() if not job.state.terminal]
    if still_open:
        follow(client.watch(still_open), Board(jobs, recent=asked), console)
    return {name: client.get(job.id) for name, job in jobs.items()}


def _show(client: Client, home: Path, jobs: Mapping[str, JobRecord], console: Console, seconds: float) -> int:
    broken = [(name, job) for name, job in jobs.items() if job.state is not JobState.SUCCEEDED]
    for name, job in broken:
        console.print(f"{name} {job.state.lower()}: {job.failure.message if job.failure else ''}", style="red")
    if broken:
        console.print("`dragoman demo` again goes on from here; logs are in", home / "logs")
        return 1
    folder = client.download(jobs["scorecard"].id, home / "reports")
    console.print(_stages(client, jobs))
    console.print((folder / "scorecard.txt").read_text(), markup=False, highlight=False)
    console.print(f"Took {seconds:.0f} s. The report, to open in a browser:")
    console.print(f"  {folder / 'report.html'}", soft_wrap=True, highlight=False)
    return 0


def _stages(client: Client, jobs: Mapping[str, JobRecord]) -> Table:
    """Where the time went, by step and side, from the manifests: waits for the machine are not in it."""
    table = Table(title="Work of each step: seconds, and memory of its process", box=None, title_justify="left")
    table.add_column("step")
    for side in ("shared", "trained", "control"):
        table.add_column(side, justify="right")
    for step in dict.fromkeys(name.removeprefix("trained_").removeprefix("control_") for name in jobs):
        keys = (step, f"trained_{step}", f"control_{step}")
        table.add_row(step, *(_cost(client, jobs[key]) if key in jobs else "" for key in keys))
    return table


def _cost(client: Client, job: JobRecord) -> str:
    cost = client.manifest(job.id).cost
    return f"{cost.get('task_seconds', 0.0):,.0f} s  {cost.get('peak_memory_bytes', 0.0) / 2**20:,.0f} MiB"
