"""How jobs lie in the key-value store and travel between a worker and its child: JSON of the dataclasses."""

from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter

from dragoman.artifacts import PartInfo
from dragoman.jobs import DeadLetter, Failure, JobProgress, JobRecord

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often a task was started, counted by us and not by the queue.

    `started` grows before each run, so that a death nobody reports is counted too; runs that ended for another
    class of reason are taken out of it again.
    """

    started: int = 0
    transient: int = 0
    last: Failure | None = None
    forgiven: int = 0
    """Of `started`, those before the newest checkpoint: a task that gets on is not given up."""

    @property
    def counted(self) -> int:
        """Starts since the task last got on."""
        return self.started - self.forgiven


@dataclass(frozen=True, slots=True)
class Lease:
    """A running task: who runs it, as which attempt, and how far it is. Expires when it is not renewed."""

    owner: str
    attempt: int
    done: float = 0.0
    total: float = 0.0
    unit: str = ""
    rate: float = 0.0
    message: str = ""
    metrics: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that a task is done: the parts it made. The first one written counts."""

    task_id: str
    parts: tuple[PartInfo, ...]
    seconds: float = 0.0
    """Of work, from the child's first step to its last upload."""
    peak_bytes: int = 0
    """Most memory that the child has held, this task and earlier ones."""


class Codec(Generic[T]):
    """JSON bytes of one dataclass, both ways."""

    def __init__(self, type_: type[T]) -> None:
        self._adapter: TypeAdapter[T] = TypeAdapter(type_)

    def dump(self, value: T) -> bytes:
        """Returns the JSON of a value."""
        return self._adapter.dump_json(value)

    def load(self, data: bytes) -> T:
        """Returns the value of some JSON. Raises pydantic.ValidationError when it is not one."""
        return self._adapter.validate_json(data)

    def plain(self, value: T) -> Any:
        """Returns the value as JSON-able Python objects."""
        return self._adapter.dump_python(value, mode="json")

    def parse(self, value: Any) -> T:
        """Returns the value of JSON-able Python objects."""
        return self._adapter.validate_python(value)


ATTEMPTS = Codec(Attempts)
LEASE = Codec(Lease)
RECEIPT = Codec(Receipt)
DEAD_LETTER = Codec(DeadLetter)
PROGRESS = Codec(JobProgress)
_JOB = Codec(JobRecord)


def job_to_bytes(record: JobRecord) -> bytes:
    """Returns what is stored of a job: everything but what readers fill in."""
    return _JOB.dump(replace(record, progress=JobProgress(), revision=0, queue_position=0))


def job_from_bytes(data: bytes, revision: int) -> JobRecord:
    """Returns a stored job, with the revision it was read at."""
    return replace(_JOB.load(data), revision=revision)
