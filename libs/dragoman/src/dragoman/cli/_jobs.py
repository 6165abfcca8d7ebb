"""Commands on jobs: submit, jobs, watch, cancel, retry, show, dead-letters."""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dragoman.artifacts import Manifest
from dragoman.cli import _words
from dragoman.cli._board import Board, follow, table
from dragoman.cli._ids import resolve, resolve_all
from dragoman.client import Client
from dragoman.errors import FailureClass, InvalidSpec, NotFound
from dragoman.jobs import JobRecord, JobState
from dragoman.nearest import suggestion
from dragoman.pipeline import Pipeline
from dragoman.rpc.methods import SUBMITS


def submit(client: Client, options: argparse.Namespace, console: Console) -> int:
    """Submits a pipeline file; watches it when asked to."""
    jobs = _submit_all(client, options.pipeline)
    if options.retry_failed:
        jobs = {name: _again(client, job) for name, job in jobs.items()}
    if options.json:
        if options.watch:
            jobs = {name: client.wait(job.id) for name, job in jobs.items()}
        _print_json({name: _words.plain_job(job) for name, job in jobs.items()})
        return int(options.watch and any(job.state is not JobState.SUCCEEDED for job in jobs.values()))
    if options.watch:
        return watch_jobs(client, jobs, console)
    rows = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("job", "id", "state"):
        rows.add_column(heading, no_wrap=True, overflow="fold")
    for name, job in jobs.items():
        rows.add_row(name, job.id, Text(job.state.lower(), style=_words.COLOURS[job.state]))
    console.print(rows)
    _hint_at_failures(jobs, console)
    return 0


def _submit_all(client: Client, steps: Pipeline) -> Mapping[str, JobRecord]:
    """Submits a pipeline; says on a terminal how far it is, for a server may have to hash a model first."""
    console = Console(stderr=True)
    with console.status("submitting") as status:

        def report(name: str) -> None:
            status.update(f"submitting {name}")

        return client.submit_pipeline(steps, report)


def settings(pairs: Sequence[str], option: str = "--set", form: str = "NAME=VALUE") -> Mapping[str, str]:
    """Returns what `--set NAME=VALUE` and its like were given. Raises InvalidSpec for one without "="."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise InvalidSpec(f"{option} {pair}: expected {form}")
        found[name] = value
    return found


def _again(client: Client, job: JobRecord) -> JobRecord:
    return client.retry(job.id) if job.state in {JobState.FAILED, JobState.CANCELLED} else job


def _hint_at_failures(jobs: Mapping[str, JobRecord], console: Console) -> None:
    ended = [name for name, job in jobs.items() if job.state in {JobState.FAILED, JobState.CANCELLED}]
    if ended:
        console.print(
            f"{', '.join(ended)} ended earlier without a result; `dragoman submit --retry-failed` queues them again",
            style="yellow",
        )


def watch_jobs(client: Client, jobs: Mapping[str, JobRecord], console: Console) -> int:
    """Shows jobs until all are terminal. Returns 0 when all succeeded, else 1."""
    if any(not job.state.terminal for job in jobs.values()):
        follow(client.watch([job.id for job in jobs.values()]), Board(jobs), console)
        jobs = {name: client.get(job.id) for name, job in jobs.items()}
    elif console.is_terminal:
        console.print(Board(jobs))
    return _summary(jobs, console)


def _summary(jobs: Mapping[str, JobRecord], console: Console) -> int:
    bad = {name: job for name, job in jobs.items() if job.state is not JobState.SUCCEEDED}
    console.print(f"{len(jobs) - len(bad)} of {len(jobs)} jobs succeeded", style="red" if bad else "green")
    for name, job in bad.items():
        followed = job.failure is not None and job.failure.failure_class is FailureClass.INPUT
        if not followed:
            console.print(f"{name} ({_words.short(job.id)}): {job.state.lower()} {_words.failed(job)}", markup=False)
    return 1 if bad else 0


def jobs(client: Client, options: argparse.Namespace, console: Console) -> int:
    """Lists jobs, newest first."""
    found = client.list([_kind(kind) for kind in options.kind], [_state(s) for s in options.state], limit=options.limit)
    if options.json:
        _print_json([_words.plain_job(job) for job in found])
    elif found:
        console.print(table(found, width=console.width))
    else:
        console.print("no such jobs" if options.kind or options.state else "no jobs yet; `dragoman submit` makes some")
    return 0


def _kind(text: str) -> str:
    if text not in SUBMITS:
        raise InvalidSpec(f"--kind {text}: {suggestion(text, SUBMITS)}")
    return text


def _state(text: str) -> JobState:
    names = [state.lower() for state in JobState]
    if text.lower() not in names:
        raise InvalidSpec(f"--state {text}: {suggestion(text, names)}")
    return JobState[text.upper()]


def watch(client: Client, options: argparse.Namespace, console: Console) -> int:
    """Watches the named jobs, or all that are not done."""
    if options.jobs:
        records = [client.get(id_) for id_ in resolve_all(client, options.jobs)]
        return watch_jobs(client, {_words.short(job.id): job for job in records}, console)
    unfinished = [state for state in JobState if not state.terminal]
    records = client.list(states=unfinished, limit=0)
    if options.all:
        board = Board({_words.short(job.id): job for job in reversed(records)}, recent=time.time())
        follow(client.watch(follow=True), board, console)
        return 0
    if not records:
        console.print("nothing to watch: every job is done; `dragoman watch --all` waits for new ones")
        return 0
    return watch_jobs(client, {_words.short(job.id): job for job in reversed(records)}, console)


def cancel(client: Client, options: argparse.Namespace, console: Console) -> int:
    """Asks for cancellation and waits until the workers have confirmed."""
    code = 0
    for id_ in resolve_all(client, options.jobs):
        job = client.cancel(id_)
        if job.state is JobState.CANCELLING:
            job = client.wait(id_, timeout=options.timeout)
        console.print(f"{_words.short(job.id)}: {job.state.lower()}")
        code = code or (0 if job.state is JobState.CANCELLED else 1)
    return code


def retry(client: Client, options: argparse.Namespace, console: Console) -> int:
    """Queues failed or cancelled jobs again."""
    ids = resolve_all(client, options.jobs)
    again = {_words.short(id_): client.retry(id_) for id_ in ids}
    if options.watch:
        return watch_jobs(client, again, console)
    for name, job in again.items():
        console.print(f"{name}: {job.state.lower()}")
    return 0


def show(client: Client, options: argparse.Namespace, console: Console) -> int:
    """Prints everything about one job."""
    job = client.get(resolve(client, options.job))
    if options.json:
        _print_json(_words.plain_job(job))
        return 0
    console.print(table([job], width=console.width))
    facts = {
        "id": job.id,
        "service": job.service,
        "submitted by": job.principal,
        "namespace": job.namespace,
        "created": _words.when(job.create_time),
        "started": _words.when(job.start_time),
        "ended": _words.when(job.end_time),
        "retries": str(job.retry_count or ""),
        "failed items": str(job.failed_count or ""),
        "waits for": ", ".join(job.waiting_for),
        "bytes": f"{job.stored_bytes:,}" if job.stored_bytes else "",
        "model tokens": f"{job.llm_tokens:,}" if job.llm_tokens else "",
        **{f"input {role}": id_ for role, id_ in job.inputs.items()},
    }
    for name, value in facts.items():
        if value:
            console.print(f"{name:>14}  {value}", highlight=False, markup=False)
    console.print_json(data=dict(job.spec))
    _print_statistics(client, job, console)
    _print_failure(job, console)
    return 0


def _print_statistics(client: Client, job: JobRecord, console: Console) -> None:
    """Prints what the manifest says in numbers, where there is one: of a dry run, what it would cost."""
    if job.state is not JobState.SUCCEEDED:
        return
    try:
        manifest = client.manifest(job.id)
    except NotFound:  # removed since
        return
    for name, value in manifest.cost.items():
        if name.startswith("spend_"):
            console.print(f"{'spent':>14}  {value:.4g} {name.removeprefix('spend_')}", highlight=False, markup=False)
    console.print("statistics", highlight=False)
    console.print_json(data=dict(manifest.statistics))
    _print_pages(client, manifest, console)


def _print_pages(client: Client, manifest: Manifest, console: Console) -> None:
    """Prints the parts that were made for a terminal: those of a scorecard and a triage."""
    for part in manifest.parts:
        if part.name.endswith(".txt"):
            page = client.read_part(manifest.id, part.name).decode()
            console.print(f"\n{page}", highlight=False, markup=False)


def _print_failure(job: JobRecord, console: Console) -> None:
    if job.failure is None:
        return
    task = f" in task {job.failure.task_id}" if job.failure.task_id else ""
    console.print(f"failed{task} after {job.failure.attempt_count} attempts: {_words.failed(job)}", style="red")
    if job.failure.debug:
        console.print(job.failure.debug, style="dim", markup=False, highlight=False)


def dead_letters(client: Client, options: argparse.Namespace, console: Console) -> int:
    """Lists tasks that were given up."""
    job_id = resolve(client, options.job) if options.job else ""
    letters = client.dead_letters(job_id, options.limit)
    if options.json:
        _print_json([{**asdict(letter), "time": _words.iso(letter.time)} for letter in letters])
        return 0
    rows = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("when", "job", "task", "attempts", "why"):
        rows.add_column(heading)
    for letter in letters:
        failure = letter.failure
        why = Text(f"{failure.message} ({failure.reason})")
        rows.add_row(
            _words.when(letter.time), _words.short(letter.job_id), letter.task_id, str(failure.attempt_count), why
        )
    console.print(rows if letters else "no task was given up")
    return 0


def logs(client: Client, options: argparse.Namespace, console: Console) -> int:
    """Prints what a job's tasks logged."""
    lines = client.log_lines(resolve(client, options.job), options.task)
    if options.json:
        _print_json([{**asdict(line), "time": _words.iso(line.time)} for line in lines])
        return 0
    for line in lines:
        style = {"WARNING": "yellow", "ERROR": "red"}.get(line.level, "")
        place = f"{_words.iso(line.time)} {line.task_id}.{line.attempt} {line.level:7} {line.logger}: "
        text = place + line.message + (f"\n{line.error}" if line.error else "")
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
    if not lines:
        console.print("its tasks logged nothing, or have not yet been heard of")
    return 0


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))
