"""Watching jobs: a live table on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dragoman.cli import _words
from dragoman.jobs import EventType, JobEvent, JobProgress, JobRecord, JobState

_WIDE = 110
"""Columns from which on a line has room for everything."""
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

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown, room = self.shown(), max(4, console.height - 3)
        kept = _most_telling(shown, room if console.is_terminal else len(shown))
        yield table(kept, self.name, options.max_width)
        if len(kept) < len(shown):
            yield Text(f"and {len(shown) - len(kept)} more", style="dim")


def _most_telling(jobs: Sequence[JobRecord], room: int) -> Sequence[JobRecord]:
    """Returns at most so many jobs, in their order: what moves or failed before what waits or is done."""
    urgency = [
        JobState.RUNNING, JobState.CANCELLING, JobState.FAILED, JobState.QUEUED, JobState.WAITING, JobState.CANCELLED,
        JobState.SUCCEEDED,
    ]  # fmt: skip
    ranked = sorted(range(len(jobs)), key=lambda i: urgency.index(jobs[i].state))
    return [jobs[i] for i in sorted(ranked[:room])]


def table(jobs: Iterable[JobRecord], name: Callable[[str], str] = _words.short, width: int = _WIDE) -> Table:
    """One line a job: name, state, stage, amount, bar, rate, time, measurements; less of it on a narrow terminal."""
    wide = width >= _WIDE
    result = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    for heading in ("job", "state", "stage", "done", *(("", "rate", "time") if wide else ()), "left"):
        result.add_column(heading, no_wrap=True)
    result.add_column("", no_wrap=True, overflow="ellipsis", ratio=1)
    for job in jobs:
        cells = _cells(job)
        more = (cells.bar, cells.rate, _words.taken(job)) if wide else ()
        result.add_row(name(job.id), _state(job), cells.stage, cells.amount, *more, cells.left, cells.said)
    return result


def _state(job: JobRecord) -> Text:
    position = f" #{job.queue_position + 1}" if job.state is JobState.QUEUED and job.queue_position else ""
    return Text(f"{job.state.lower()}{position}", style=_words.COLOURS[job.state])


class _Cells(NamedTuple):
    """What a line says beside the job's name, state and time."""

    stage: str = ""
    amount: str = ""
    bar: ProgressBar | str = ""
    rate: str = ""
    left: str = ""
    said: Text | str = ""


def _cells(job: JobRecord) -> _Cells:
    match job.state:
        case JobState.SUCCEEDED:
            partly = f"{job.failed_count} items failed" if job.failed_count else ""
            return _Cells(bar=ProgressBar(total=1, completed=1, width=16), said=Text(partly, style="yellow"))
        case JobState.FAILED:
            return _Cells(said=Text(_words.failed(job), style="red"))
        case JobState.CANCELLED:
            return _Cells()
        case JobState.WAITING:
            ids = ", ".join(_words.short(id_) for id_ in job.waiting_for[:3])
            return _Cells(said=Text(f"for {ids}" if ids else "", style="dim"))
        case _:
            return _moving(job)


def _moving(job: JobRecord) -> _Cells:
    progress = job.progress
    bar = ProgressBar(total=1, completed=_share(progress), width=16) if job.state is JobState.RUNNING else ""
    said = Text("  ".join(filter(None, [_words.metrics(progress), progress.message])), style="dim")
    return _Cells(
        _words.stage(progress), _words.amount(progress), bar, _words.rate(progress), _words.left(progress), said
    )


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
        self._last: dict[str, str] = {}

    def tell(self, event: JobEvent, changed: bool) -> None:
        """Prints what is worth a line."""
        now = time.monotonic()
        if event.type is EventType.TASK_FAILED and event.failure is not None:
            self._print(event, f"task {event.task_id} failed, will be tried again: {event.failure.message}")
        elif changed or event.type is EventType.CREATED:
            self._print(event, self._state_line(self._board.jobs[event.job_id]))
        elif event.type is EventType.PROGRESS and now - self._told.get(event.job_id, 0.0) >= _PLAIN_EVERY:
            line = self._progress_line(self._board.jobs[event.job_id].progress)
            if line != self._last.get(event.job_id):
                self._told[event.job_id], self._last[event.job_id] = now, line
                self._print(event, line)

    def _state_line(self, job: JobRecord) -> str:
        said = _words.failed(job) or (_words.taken(job) if job.state.terminal else "")
        return f"{job.state.lower()} {said}".strip()

    def _progress_line(self, progress: JobProgress) -> str:
        words = (_words.stage, _words.amount, _words.rate, _words.metrics)
        parts = [word(progress) for word in words]
        remaining = _words.left(progress)
        return "  ".join(filter(None, [*parts, f"{remaining} left" if remaining else "", progress.message]))

    def _print(self, event: JobEvent, text: str) -> None:
        clock = time.strftime("%H:%M:%S", time.localtime(event.time))
        self._console.print(f"{clock} {self._board.name(event.job_id)}: {text}", markup=False, highlight=False)
