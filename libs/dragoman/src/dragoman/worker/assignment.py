"""A task as it came from the queue, and what is known of its earlier attempts."""

from dataclasses import dataclass, field

from nats.aio.msg import Msg

from dragoman.errors import FailureClass
from dragoman.jobs import Failure, JobRecord
from dragoman.records import Attempts
from dragoman.worker.messages import Run


@dataclass(frozen=True, slots=True)
class Assignment:
    """A task as it came from the queue."""

    message: Msg
    record: JobRecord
    task_id: str
    run: Run
    attempts: Attempts = field(default_factory=Attempts)


def crash_failure(work: Assignment) -> Failure:
    """Returns why a task is given up that was started as often as it may be."""
    last = work.attempts.last
    cause = last.message if last else "the worker itself ended each time before it could say why"
    message = f"task {work.task_id} was started {work.attempts.started} times and never finished: {cause}"
    return Failure(
        last.reason if last else "TASK_CRASHED",
        message,
        FailureClass.SYSTEM,
        work.task_id,
        work.attempts.started,
        last.debug if last else "",
    )
