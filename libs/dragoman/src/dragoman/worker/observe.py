"""What a worker counts. Stages are counted by number, so that labels stay few."""

import contextlib
import datetime
from collections.abc import Iterable, Sequence

from nats.aio.msg import Msg

from dragoman import tracing
from dragoman.errors import FailureClass
from dragoman.jobs import Failure, JobRecord
from dragoman.metrics import METRICS, Delta
from dragoman.worker.messages import Said

_TOKENS = "dragoman_llm_tokens_total"
_BILLED = ("prompt", "completion")
_CLASSES = (FailureClass.USER, FailureClass.TRANSIENT, FailureClass.SYSTEM)
"""Of failures of tasks."""


def awaited(service: str, kinds: Iterable[str]) -> None:
    """Shows failures of every kind as 0: of a counter that begins at 1, Prometheus never sees the first increase."""
    for kind in kinds:
        METRICS.redeliveries.labels(service, kind)
        for class_ in _CLASSES:
            METRICS.dead_letters.labels(service, kind, class_.value)
        _show_failures(service, kind, "0")


def _show_failures(service: str, kind: str, stage: str) -> None:
    for class_ in _CLASSES:
        METRICS.tasks_failed.labels(service, kind, stage, class_.value)


def fetched(service: str, kind: str, message: Msg, attempt: int) -> None:
    """Counts a delivery: its wait on the queue when it is the first, else a redelivery."""
    if attempt > 0 or message.metadata.num_delivered > 1:
        METRICS.redeliveries.labels(service, kind).inc()
        return
    waited = datetime.datetime.now(datetime.UTC) - message.metadata.timestamp
    METRICS.queue_wait_seconds.labels(service, kind).observe(max(0.0, waited.total_seconds()))


def started(record: JobRecord, stage: int) -> None:
    """Counts the start of an attempt."""
    METRICS.tasks_started.labels(record.service, record.kind, str(stage)).inc()
    _show_failures(record.service, record.kind, str(stage))


def ended(record: JobRecord, stage: int, outcome: str, failure: Failure | None, seconds: float) -> None:
    """Counts the end of an attempt and how long it took."""
    labels = (record.service, record.kind, str(stage))
    METRICS.task_seconds.labels(*labels).observe(seconds)
    if outcome == "done":
        METRICS.tasks_done.labels(*labels).inc()
    else:
        METRICS.tasks_failed.labels(*labels, failure.failure_class.value if failure else outcome).inc()


def progressed(record: JobRecord, done_before: float, said: Said) -> None:
    """Counts what a task got through since it last spoke, and shows what it says of itself."""
    labels = (record.service, record.kind)
    METRICS.work_units.labels(*labels, said.unit).inc(max(0.0, said.done - done_before))
    for name, value in said.metrics.items():
        METRICS.work_value.labels(*labels, name).set(value)


def finished(record: JobRecord, peak_bytes: int) -> None:
    """Shows how much memory the last task needed."""
    METRICS.task_peak_bytes.labels(record.service, record.kind).set(peak_bytes)


def buried(record: JobRecord, failure: Failure) -> None:
    """Counts a task that was given up."""
    METRICS.dead_letters.labels(record.service, record.kind, failure.failure_class.value).inc()


def alive(service: str, silent_seconds: float) -> None:
    """Shows how long the running task has given no sign of life; 0 when idle."""
    METRICS.heartbeat_age_seconds.labels(service).set(silent_seconds)


def llm_tokens(deltas: Sequence[Delta]) -> int:
    """Returns the tokens of prompts and replies among what the child counted."""
    grown = (value for name, labels, value in deltas if name == _TOKENS and labels["type"] in _BILLED)
    return round(sum(grown))


def traced(record: JobRecord, task_id: str, message: Msg, attempt: int) -> contextlib.AbstractContextManager[None]:
    """Makes a span of an attempt, below the submission that its message carries the trace of."""
    told = {"dragoman.job_id": record.id, "dragoman.task_id": task_id, "dragoman.attempt": attempt}
    return tracing.span(f"task {record.kind}", "CONSUMER", (message.headers or {}).get(tracing.HEADER, ""), told)


def absorb(deltas: Sequence[Delta]) -> None:
    """Adds what the child counted: object store, language model."""
    METRICS.absorb([(name, dict(labels), value) for name, labels, value in deltas])
