"""Errors that a user may see.

    DragomanError
    ├── InvalidSpec          a field of a spec is wrong; carries one Violation per field
    ├── NotFound             no such job, artifact, part, model, file or kind
    ├── AlreadyExists        the request id was used with another spec
    ├── FailedPrecondition   the request is fine, the state of things is not
    ├── Unavailable          something this depends on cannot be reached
    ├── ResourceExhausted    a limit or quota is reached
    ├── Unauthenticated      no token, or none that is known
    ├── PermissionDenied     the token's principal may not do this
    ├── DataLoss             stored bytes are not what a manifest promises
    └── TaskError            a task failed; `failure_class` says who may mend it
        ├── UserTaskError        wrong input; never retried
        ├── TransientTaskError   something outside was away; retried with back-off
        └── SystemTaskError      process death, memory, stall; retried on its own budget

A message says what was wrong, what was expected and how to mend it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class FailureClass(StrEnum):
    """Who can mend a failure."""

    USER = "user"
    TRANSIENT = "transient"
    SYSTEM = "system"
    INPUT = "input"


@dataclass(frozen=True, slots=True)
class Violation:
    """One wrong field of a spec: its dotted path and what is wrong with it."""

    field: str
    description: str


class DragomanError(Exception):
    """Base of every error that Dragoman raises on purpose."""

    reason = "INTERNAL"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if reason is not None:
            self.reason = reason


class InvalidSpec(DragomanError):
    """A spec cannot be run as it is written."""

    reason = "INVALID_SPEC"

    def __init__(self, violations: Sequence[Violation] | str, *, field: str = "", reason: str | None = None) -> None:
        if isinstance(violations, str):
            violations = [Violation(field, violations)]
        self.violations = tuple(violations)
        lines = [f"{v.field}: {v.description}" if v.field else v.description for v in self.violations]
        super().__init__("; ".join(lines), reason=reason)


class NotFound(DragomanError):
    """What was named does not exist."""

    reason = "NOT_FOUND"


class AlreadyExists(DragomanError):
    """The name is taken by something else."""

    reason = "ALREADY_EXISTS"


class FailedPrecondition(DragomanError):
    """The system's state does not allow it now."""

    reason = "FAILED_PRECONDITION"


class Unavailable(DragomanError):
    """A dependency cannot be reached."""

    reason = "UNAVAILABLE"


class ResourceExhausted(DragomanError):
    """A limit is reached. `retry_seconds`: when to try again, 0 where waiting does not help."""

    reason = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str, *, reason: str | None = None, retry_seconds: int = 0) -> None:
        super().__init__(message, reason=reason)
        self.retry_seconds = retry_seconds


class Unauthenticated(DragomanError):
    """The call says not who it is from."""

    reason = "UNAUTHENTICATED"


class PermissionDenied(DragomanError):
    """Who calls may not do this."""

    reason = "PERMISSION_DENIED"


class DataLoss(DragomanError):
    """Stored bytes differ from what their manifest promises."""

    reason = "DATA_LOSS"


class TaskError(DragomanError):
    """A task could not be done."""

    reason = "TASK_FAILED"
    failure_class = FailureClass.SYSTEM


class UserTaskError(TaskError):
    """The input is wrong; trying again would give the same."""

    reason = "INVALID_INPUT"
    failure_class = FailureClass.USER


class TransientTaskError(TaskError):
    """Something outside was away; trying again later may work."""

    reason = "DEPENDENCY_UNAVAILABLE"
    failure_class = FailureClass.TRANSIENT


class SystemTaskError(TaskError):
    """The process died, stalled or ran out of memory."""

    reason = "TASK_CRASHED"
    failure_class = FailureClass.SYSTEM
