"""How numbers, times and jobs are written for people and for programs."""

import dataclasses
import datetime
import time
from typing import Any

from dragoman.errors import FailureClass
from dragoman.jobs import JobProgress, JobRecord, JobState

COLOURS = {
    JobState.WAITING: "dim",
    JobState.QUEUED: "cyan",
    JobState.RUNNING: "blue",
    JobState.CANCELLING: "yellow",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.CANCELLED: "yellow",
}

_RETRYABLE = "`dragoman retry {id}` queues it again"
_HINTS = {
    FailureClass.USER: "mend the spec and submit it again",
    FailureClass.TRANSIENT: _RETRYABLE,
    FailureClass.SYSTEM: _RETRYABLE,
    FailureClass.INPUT: "see to the input's job; this one goes on by itself when the input is there",
}


def short(id_: str) -> str:
    """Kind and eight digits: enough to tell jobs apart, and accepted wherever an id is."""
    kind, _, digits = id_.partition("-")
    return f"{kind}-{digits[:8]}"


def count(number: float) -> str:
    """12, 4,096, 1.3M: at most five characters of digits."""
    if abs(number) >= 1e9:
        return f"{number / 1e9:.1f}G"
    if abs(number) >= 1e6:
        return f"{number / 1e6:.1f}M"
    if abs(number) >= 100 or float(number).is_integer():
        return f"{number:,.0f}"
    return f"{number:.3g}"


def duration(seconds: float) -> str:
    """12 s, 3:07, 1:02:45."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def taken(job: JobRecord) -> str:
    """How long a job has run, or ran; empty when it has not started."""
    return duration((job.end_time or time.time()) - job.start_time) if job.start_time else ""


def stage(progress: JobProgress) -> str:
    """Stage and its place among the stages: "train 2/3"."""
    place = f" {progress.stage_index + 1}/{progress.stage_count}" if progress.stage_count > 1 else ""
    return f"{progress.stage}{place}"


def amount(progress: JobProgress) -> str:
    """N/M with its unit: tokens when they are known, else tasks."""
    if progress.units_total:
        return f"{count(progress.units_done)}/{count(progress.units_total)} {progress.unit}"
    return f"{progress.done_count}/{progress.total_count} tasks" if progress.total_count else ""


def rate(progress: JobProgress) -> str:
    """Units per second; empty when not known."""
    return f"{count(progress.rate)}/s" if progress.rate else ""


def left(progress: JobProgress) -> str:
    """Time that the stage still takes at this rate; empty when not known."""
    remaining = progress.units_total - progress.units_done
    return duration(remaining / progress.rate) if progress.rate and remaining > 0 else ""


def metrics(progress: JobProgress) -> str:
    """fvu 0.21  l0 32: the newest measurements."""
    return "  ".join(f"{name} {value:.3g}" for name, value in sorted(progress.metrics.items()))


def failed(job: JobRecord) -> str:
    """Why a job failed, and what to do about it; empty when it did not."""
    if job.failure is None:
        return ""
    hint = _HINTS[job.failure.failure_class].format(id=short(job.id))
    return f"{job.failure.message} ({job.failure.reason}; {hint})"


def when(seconds: float) -> str:
    """Local time, to the second; empty for 0."""
    return f"{datetime.datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}" if seconds else ""


def plain_job(job: JobRecord) -> dict[str, Any]:
    """Returns a job for --json: names as in the API, times ISO 8601 in UTC or null."""
    fields = dataclasses.asdict(job)
    del fields["stages"], fields["stage_index"], fields["trace"]
    for name in ("create_time", "start_time", "end_time"):
        fields[name] = iso(fields[name])
    return fields


def iso(seconds: float) -> str | None:
    """ISO 8601 in UTC; None for 0."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat() if seconds else None
