"""Watches one running task: its signs of life, its lease, its job's state, and the worker's own end."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Literal

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg

from dragoman.artifacts import PartInfo
from dragoman.bus import Bus
from dragoman.errors import DragomanError, FailureClass
from dragoman.joblog import JobLog
from dragoman.jobs import EventType, Failure, JobRecord, JobState
from dragoman.ledger import Ledger, progress_of
from dragoman.records import Attempts, Lease
from dragoman.worker import observe
from dragoman.worker.messages import Run, Said
from dragoman.worker.subprocess import Child, ChildDied
from dragoman.worker.tasklog import TaskLog

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended. "ended": the job ended meanwhile; "superseded": another worker has the task."""

    type: Literal["done", "failed", "drained", "ended", "superseded"]
    parts: tuple[PartInfo, ...] = ()
    failure: Failure | None = None
    seconds: float = 0.0
    peak_bytes: int = 0


class TaskWatch:
    """One attempt at one task."""

    def __init__(
        self,
        record: JobRecord,
        task_id: str,
        attempts: Attempts,
        owner: str,
        message: Msg,
        bus: Bus,
        ledger: Ledger,
        log: JobLog,
    ) -> None:
        self.attempts = attempts
        self.log = TaskLog(log, record.id, task_id, attempts.started)
        self._record = record
        self._task_id = task_id
        self._owner = owner
        self._message = message
        self._bus = bus
        self._ledger = ledger
        self._said = Said("ready")
        self._alive = time.monotonic()
        self._waiting = True
        """True until the child has the task: waiting for the machine's lock is no stall."""
        self._over = False
        self.llm_tokens = 0
        """What the attempt spent on prompts and replies so far."""
        self._rate = Rate()

    @contextlib.asynccontextmanager
    async def lease(self) -> AsyncGenerator[None, None]:
        """Holds the task's lease while the block runs, and gives it back after it."""
        await self._hold()
        try:
            yield
        finally:
            with contextlib.suppress(DragomanError):
                await self._ledger.release(self._record.id, self._task_id)

    async def _hold(self) -> None:
        said = self._said
        lease = Lease(
            self._owner,
            self.attempts.started,
            said.done,
            said.total,
            said.unit,
            self._rate.value,
            said.message,
            said.metrics,
        )
        await self._ledger.hold(self._record.id, self._task_id, lease)

    # ------------------------------------------------------------------- child

    async def listen(self, child: Child, run: Run) -> Outcome:
        """Has the child do the task and returns how it ended."""
        self._alive = time.monotonic()
        self._waiting = False
        try:
            await child.start()
            await child.send(run)
            while True:
                said = await child.hear()
                self._alive = time.monotonic()
                observe.absorb(said.counted)
                self.llm_tokens += observe.llm_tokens(said.counted)
                if said.type == "done":
                    observe.finished(self._record, said.peak_bytes)
                    return Outcome("done", said.parts, seconds=said.seconds, peak_bytes=said.peak_bytes)
                if said.type == "failed":
                    return Outcome("failed", failure=_failure(said))
                if said.type == "log":
                    self.log.add(said.message)
                if said.type == "checkpoint":
                    await self._forgive()
                if said.type == "progress":
                    observe.progressed(self._record, self._said.done, said)
                    self._said = said
                    self._rate.add(said.done, self._alive)
        except ChildDied as error:
            message = f"{error} while it ran task {self._task_id} of {self._record.id}"
            return Outcome("failed", failure=Failure("TASK_CRASHED", message, FailureClass.SYSTEM))

    async def _forgive(self) -> None:
        """Counts from here on: an attempt that left a checkpoint was not in vain, nor were those before it."""
        before = self.attempts.started - 1
        if self.attempts.forgiven < before or self.attempts.transient:
            self.attempts = replace(self.attempts, forgiven=before, transient=0)
            await self._ledger.record_attempts(self._record.id, self._task_id, self.attempts)

    # --------------------------------------------------------------- supervise

    def end(self) -> None:
        """Has `supervise` return soon. Python 3.11's wait_for may swallow a cancellation, so that is not enough."""
        self._over = True

    async def supervise(self, stall: float, stopping: asyncio.Event, drain: float) -> Outcome:
        """Renews the lease while the task shows life. Returns when the task must be stopped, with the reason."""
        beat = min(self._bus.config.ack_wait, self._bus.config.lease) / 3
        renewed, told, drain_at = time.monotonic(), 0.0, float("inf")
        while not self._over:
            await asyncio.sleep(min(0.5, beat / 2))
            now = time.monotonic()
            if stopping.is_set():
                drain_at = min(drain_at, now + drain)
            if now >= drain_at:
                return Outcome("drained")
            if not self._waiting and now - self._alive > stall:
                message = f"task {self._task_id} gave no sign of life for {stall:.0f} s and was stopped"
                return Outcome("failed", failure=Failure("TASK_STALLED", message, FailureClass.SYSTEM))
            observe.alive(self._record.service, now - self._alive)
            if not self._bus.connected:
                continue
            try:
                ended = await self._ended()
                if ended is not None:
                    return ended
                if now - renewed >= beat:
                    await self._message.in_progress()
                    renewed = now
                if now - told >= 1.0:
                    await self._tell()
                    told = now
            except (TimeoutError, DragomanError, nats.errors.Error, nats.js.errors.Error) as error:
                _LOG.warning("could not renew the lease: %s", error or type(error).__name__)
        return Outcome("ended")

    async def _ended(self) -> Outcome | None:
        record = await self._ledger.find(self._record.id)
        if record is None or record.state not in {JobState.QUEUED, JobState.RUNNING}:
            return Outcome("ended")
        if record.retry_count != self._record.retry_count:
            return Outcome("superseded")
        attempts = await self._ledger.attempts(self._record.id, self._task_id)
        if attempts.started > self.attempts.started:
            return Outcome("superseded")
        self._record = record
        return None

    async def _tell(self) -> None:
        await self._hold()
        await self.log.save_sometimes()
        leases = await self._ledger.leases(self._record.id)
        progress = progress_of(self._record, leases)
        await self._ledger.announce(self._record, EventType.PROGRESS, progress=progress, task_id=self._task_id)


def _failure(said: Said) -> Failure:
    return Failure(said.reason, said.message, said.failure_class, debug=said.debug)


class Rate:
    """Units per second over about the last ten seconds, longer where fewer than two were done in these.

    What comes in the first second of getting on does not count: answers that were stored come all at once.
    """

    def __init__(self) -> None:
        self._marks: list[tuple[float, float]] = []
        self._began = math.inf
        """When the first unit was done."""

    def add(self, done: float, now: float) -> None:
        """Takes how much is done at a time, in seconds of a clock that only goes on."""
        if done > 0.0:
            self._began = min(self._began, now)
        marks = self._marks
        if now - self._began < 1.0 or (marks and done < marks[-1][1]):
            marks.clear()
        elif len(marks) > 1 and now - marks[-2][0] < 0.05:
            marks.pop()
        marks.append((now, done))
        while len(marks) > 2 and now - marks[1][0] >= 10.0:
            marks.pop(0)

    @property
    def value(self) -> float:
        """0 where it is not known."""
        if len(self._marks) < 2 or self._marks[-1][0] == self._marks[0][0]:
            return 0.0
        return (self._marks[-1][1] - self._marks[0][1]) / (self._marks[-1][0] - self._marks[0][0])
