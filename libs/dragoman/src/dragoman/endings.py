"""How a job ends without an artifact: failed or cancelled."""

import time
import traceback

from pydantic import ValidationError

from dragoman.bus import Bus
from dragoman.errors import DragomanError, FailureClass
from dragoman.jobs import EventType, Failure, JobRecord, JobState
from dragoman.ledger import Ledger
from dragoman.redaction import redact


def failure_of(error: Exception, reason: str) -> Failure:
    """Returns the failure that an exception of a job kind means; one that is not ours is a defect, told as such."""
    if isinstance(error, DragomanError):
        return Failure(error.reason, redact(error.message), FailureClass.USER)
    if isinstance(error, ValidationError):
        return Failure("INVALID_SPEC", redact(str(error)), FailureClass.USER)
    debug = redact("".join(traceback.format_exception(error)))
    return Failure(reason, redact(f"{type(error).__name__}: {error}"), FailureClass.SYSTEM, debug=debug)


class Endings:
    """Ends jobs. Every method is safe to repeat and to call from any process."""

    def __init__(self, bus: Bus, ledger: Ledger) -> None:
        self._bus = bus
        self._ledger = ledger

    async def _unqueue(self, record: JobRecord) -> None:
        subject = self._bus.subject("tasks", record.service, record.kind, record.id, ">")
        await self._bus.purge(self._bus.stream("TASKS"), subject)

    async def fail(self, record: JobRecord, failure: Failure) -> None:
        """Ends a job as FAILED: no task of it will start again, and dependents learn of it."""

        def step(r: JobRecord) -> JobRecord | None:
            if r.state.terminal or r.state is JobState.CANCELLING:
                return None
            return r.to(JobState.FAILED, failure=failure, end_time=time.time())

        changed = await self._ledger.change(record.id, step)
        if changed.state is not JobState.FAILED:
            return
        await self._unqueue(record)
        await self._ledger.announce(
            changed, EventType.FAILED, task_id=failure.task_id, failure=failure, once=f"failed-{changed.end_time}"
        )

    async def cancel(self, job_id: str) -> JobRecord:
        """Asks for cancellation; the job is CANCELLED at once when nothing of it runs."""

        def step(r: JobRecord) -> JobRecord | None:
            if r.state in {JobState.CANCELLED, JobState.CANCELLING}:
                return None
            if r.state is JobState.WAITING:
                return r.to(JobState.CANCELLED, end_time=time.time())
            return r.to(JobState.CANCELLING)

        record = await self._ledger.change(job_id, step)
        await self._unqueue(record)
        if record.state is JobState.CANCELLING:
            await self._ledger.announce(record, EventType.CANCELLING, once="cancelling")
            return await self.confirm_cancelled(job_id)
        await self._ledger.announce(record, EventType.CANCELLED, once="cancelled")
        return record

    async def confirm_cancelled(self, job_id: str) -> JobRecord:
        """Turns CANCELLING into CANCELLED once no lease of the job is left. Does nothing in any other state."""
        record = await self._ledger.get(job_id)
        if record.state is not JobState.CANCELLING or await self._ledger.leases(job_id):
            return record

        def step(r: JobRecord) -> JobRecord | None:
            return r.to(JobState.CANCELLED, end_time=time.time()) if r.state is JobState.CANCELLING else None

        record = await self._ledger.change(job_id, step)
        if record.state is JobState.CANCELLED:
            await self._ledger.announce(record, EventType.CANCELLED, once="cancelled")
        return record
