"""Jobs: the wish for one artifact, its states, and what may follow what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from dragoman.errors import FailedPrecondition, FailureClass
from dragoman.ids import Json
from dragoman.task_set import TaskSet


class JobState(StrEnum):
    """Where a job stands; the last three are final."""

    WAITING = "WAITING"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def terminal(self) -> bool:
        """True when no worker will touch the job again unless it is retried."""
        return self in {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}


FOLLOWS: Mapping[JobState, frozenset[JobState]] = {
    JobState.WAITING: frozenset({JobState.QUEUED, JobState.FAILED, JobState.CANCELLED, JobState.SUCCEEDED}),
    JobState.QUEUED: frozenset(
        {JobState.RUNNING, JobState.FAILED, JobState.CANCELLING, JobState.CANCELLED, JobState.SUCCEEDED}
    ),
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLING}),
    JobState.CANCELLING: frozenset({JobState.CANCELLED, JobState.SUCCEEDED}),  # its commit was under way
    JobState.FAILED: frozenset({JobState.WAITING, JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.WAITING, JobState.QUEUED}),
    JobState.SUCCEEDED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task or a job failed, in the user's words; `debug` holds the traceback."""

    reason: str
    message: str
    failure_class: FailureClass
    task_id: str = ""
    attempt_count: int = 0
    debug: str = ""


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is: the stage it is in, that stage's tasks, and what its running tasks last said."""

    stage: str = ""
    stage_index: int = 0
    stage_count: int = 0
    done_count: int = 0
    total_count: int = 0
    fraction: float = 0.0
    units_done: float = 0.0
    units_total: float = 0.0
    unit: str = ""
    rate: float = 0.0
    message: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class StageRecord:
    """A planned stage: its name, how many tasks it has, and which of them are done."""

    name: str
    task_count: int
    done: TaskSet = field(default_factory=TaskSet)

    @property
    def complete(self) -> bool:
        """True when every task is done."""
        return len(self.done) == self.task_count


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What the key-value store knows of a job. Times are seconds since the epoch, 0 when not yet."""

    id: str
    kind: str
    service: str
    state: JobState
    spec: Mapping[str, Json]
    inputs: Mapping[str, str]
    waiting_for: Sequence[str] = ()
    stages: Sequence[StageRecord] = ()
    stage_index: int = 0
    failure: Failure | None = None
    failed_count: int = 0
    retry_count: int = 0
    create_time: float = 0.0
    start_time: float = 0.0
    end_time: float = 0.0
    principal: str = ""
    """Who submitted it first; empty where servers know no principals."""
    namespace: str = ""
    """Whose it is; empty: everybody's. Part of the id."""
    stored_bytes: int = 0
    """Of its committed artifact."""
    llm_tokens: int = 0
    """That its tasks spent on prompts and replies so far."""
    trace: str = ""
    """W3C traceparent of its submission; empty where nothing is traced."""
    progress: JobProgress = field(default_factory=JobProgress)
    """Filled in by readers from the stages and the running tasks; not stored."""
    revision: int = 0
    """Revision of the key-value entry this was read from; not stored."""
    queue_position: int = 0
    """Filled in by readers; not stored."""

    def to(self, state: JobState, **changes: object) -> "JobRecord":
        """Returns the record in another state. Raises FailedPrecondition when the state may not follow."""
        if state is not self.state and state not in FOLLOWS[self.state]:
            raise FailedPrecondition(f"{self.id} is {self.state} and cannot become {state}", reason="WRONG_STATE")
        return replace(self, state=state, **changes)  # pyright: ignore[reportArgumentType]


class EventType(StrEnum):
    """Facts about a job, named as in dragoman.job.v1.EventType."""

    CREATED = "CREATED"
    QUEUED = "QUEUED"
    STARTED = "STARTED"
    PROGRESS = "PROGRESS"
    TASK_DONE = "TASK_DONE"
    TASK_FAILED = "TASK_FAILED"
    COMMITTED = "COMMITTED"
    FAILED = "FAILED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    RETRIED = "RETRIED"
    HEARTBEAT = "HEARTBEAT"


@dataclass(frozen=True, slots=True)
class JobEvent:
    """A fact about a job. `cursor` is its position in the event log, 0 until it is read back."""

    job_id: str
    kind: str
    type: EventType
    state: JobState
    time: float
    cursor: int = 0
    progress: JobProgress | None = None
    task_id: str = ""
    failure: Failure | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that an attempt at a task has logged. `attempt` counts from 1; `error` is a traceback, or empty."""

    time: float
    level: str
    task_id: str
    attempt: int
    logger: str
    message: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A task that was given up."""

    job_id: str
    task_id: str
    failure: Failure
    time: float
