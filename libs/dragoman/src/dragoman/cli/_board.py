"""Watching jobs: a live table on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dragoman.cli import _words
from dragoman.jobs import EventType, JobEvent, JobProgress, JobRecord, JobState

_PLAIN_EVERY = 5.0
"""Seconds between two progress lines of one job where there is no terminal."""


class Board:
    """What is known of the watched jobs, from their records and the events since.

    Args:
        jobs: Display name to job.
        recent: Only jobs that are not done, or that ended after this time (seconds since the epoch), are shown.
    """

    def __init__(self, jobs: Mapping[str, JobRecord], recent: float = 0.0) -> None:
        self.jobs: dict[str, JobRecord] = {job.id: job for job in jobs.values()}
        self._names = {job.id: name for name, job in jobs.items()}
        self._recent = recent

    def name(self, job_id: str) -> str:
        """The name in the pipeline, or a short id."""
        return self._names.get(job_id) or _words.short(job_id)

    def apply(self, event: JobEvent) -> bool:
        """Learns from an event. True when it changed a job's state."""
        if event.type is EventType.HEARTBEAT:
            return False
        known = self.jobs.get(event.job_id) or JobRecord(event.job_id, event.kind, "", event.state, {}, {})
        changes: dict[str, object] = {"state": event.state}
        if event.progress is not None:
            changes["progress"] = event.progress
        if event.type is EventType.FAILED:
            changes["failure"] = event.failure
        if event.type is EventType.STARTED and not known.start_time:
            changes["start_time"] = event.time
        changes["end_time"] = (known.end_time or event.time) if event.state.terminal else 0.0
        if not event.state.terminal:
            changes["failure"] = None
        self.jobs[event.job_id] = replace(known, **changes)  # pyright: ignore[reportArgumentType]
        return known.state is not event.state

    def shown(self) -> Sequence[JobRecord]:
        """The jobs to show, oldest first."""
        return [job for job in self.jobs.values() if not job.state.terminal or job.end_time >= self._recent]

    def __rich__(self) -> Table:
        return table(self.shown(), self.name)


def table(jobs: Iterable[JobRecord], name: Callable[[str], str] = _words.short) -> Table:
    """One line a job: name, state, stage, amount, bar, rate, time, measurements."""
    result = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("job", "state", "stage", "done", "", "rate", "time", "left"):
        result.add_column(heading, no_wrap=True)
    result.add_column("")
    for job in jobs:
        result.add_row(name(job.id), _state(job), *_columns(job))
    return result


def _state(job: JobRecord) -> Text:
    position = f" #{job.queue_position + 1}" if job.state is JobState.QUEUED and job.queue_position else ""
    return Text(f"{job.state.lower()}{position}", style=_words.COLOURS[job.state])


def _columns(job: JobRecord) -> list[Text | ProgressBar | str]:
    taken = _words.taken(job)
    if job.state is JobState.SUCCEEDED:
        partly = f"{job.failed_count} items failed" if job.failed_count else ""
        return ["", "", ProgressBar(total=1, completed=1, width=16), "", taken, "", Text(partly, style="yellow")]
    if job.state is JobState.FAILED:
        return ["", "", "", "", taken, "", Text(_words.failed(job), style="red")]
    if job.state is JobState.WAITING:
        ids = ", ".join(_words.short(id_) for id_ in job.waiting_for[:3])
        return ["", "", "", "", "", "", Text(f"for {ids}" if ids else "", style="dim")]
    progress = job.progress
    bar = ProgressBar(total=1, completed=_share(progress), width=16) if job.state is JobState.RUNNING else ""
    said = "  ".join(filter(None, [_words.metrics(progress), progress.message]))
    return [
        _words.stage(progress), _words.amount(progress), bar, _words.rate(progress), taken, _words.left(progress),
        Text(said, style="dim"),
    ]  # fmt: skip


def _share(progress: JobProgress) -> float:
    """Done share of the whole job, each stage counting alike."""
    return min(1.0, (progress.stage_index + progress.fraction) / max(1, progress.stage_count))


def follow(events: Iterable[JobEvent], board: Board, console: Console) -> None:
    """Shows the board until the events end."""
    if console.is_terminal:
        with Live(board, console=console, refresh_per_second=5, vertical_overflow="visible"):
            for event in events:
                board.apply(event)
        return
    lines = _Lines(board, console)
    for event in events:
        lines.tell(event, board.apply(event))


class _Lines:
    """One line for each change of state, and for progress now and then."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._console = console
        self._told: dict[str, float] = {}

    def tell(self, event: JobEvent, changed: bool) -> None:
        """Prints what is worth a line."""
        now = time.monotonic()
        if event.type is EventType.TASK_FAILED and event.failure is not None:
            self._print(event, f"task {event.task_id} failed, will be tried again: {event.failure.message}")
        elif changed or event.type is EventType.CREATED:
            self._print(event, self._state_line(self._board.jobs[event.job_id]))
        elif event.type is EventType.PROGRESS and now - self._told.get(event.job_id, 0.0) >= _PLAIN_EVERY:
            self._told[event.job_id] = now
            self._print(event, self._progress_line(self._board.jobs[event.job_id].progress))

    def _state_line(self, job: JobRecord) -> str:
        said = _words.failed(job) or (_words.taken(job) if job.state.terminal else "")
        return f"{job.state.lower()} {said}".strip()

    def _progress_line(self, progress: JobProgress) -> str:
        words = (_words.stage, _words.amount, _words.rate, _words.metrics)
        parts = [word(progress) for word in words]
        remaining = _words.left(progress)
        return "  ".join(filter(None, [*parts, f"{remaining} left" if remaining else ""]))

    def _print(self, event: JobEvent, text: str) -> None:
        clock = time.strftime("%H:%M:%S", time.localtime(event.time))
        self._console.print(f"{clock} {self._board.name(event.job_id)}: {text}", markup=False, highlight=False)
