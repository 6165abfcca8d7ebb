"""The worker's loop: fetch one task per slot, keep its lease while it progresses, settle it, acknowledge last."""

import asyncio
import contextlib
import json
import logging
import os
import random
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from dragoman import tracing
from dragoman.bus import Bus
from dragoman.errors import FailureClass, NotFound
from dragoman.joblog import JobLog
from dragoman.jobs import EventType, Failure, JobRecord, JobState
from dragoman.kinds import AnyKind
from dragoman.ledger import Ledger
from dragoman.owned_folder import OwnedFolder
from dragoman.planner import Planner
from dragoman.records import Receipt
from dragoman.telemetry import task_logging
from dragoman.worker import observe
from dragoman.worker.assignment import Assignment, crash_failure
from dragoman.worker.config import WorkerConfig
from dragoman.worker.machine import MachineLock
from dragoman.worker.messages import Run
from dragoman.worker.subprocess import Child
from dragoman.worker.watch import Outcome, TaskWatch

_LOG = logging.getLogger(__name__)
_SCRATCH = "dragoman-work-"


class Worker:
    """Does the tasks of one service until it is told to stop, or nothing is queued and `once` is set."""

    def __init__(
        self,
        service: str,
        package: str,
        kinds: Mapping[str, AnyKind],
        bus: Bus,
        ledger: Ledger,
        planner: Planner,
        log: JobLog,
        config: WorkerConfig,
    ) -> None:
        self._log = log
        self._service = service
        self._package = package
        self._kinds = kinds
        self._bus = bus
        self._ledger = ledger
        self._planner = planner
        self._config = config
        self._stopping = asyncio.Event()
        self._lock = MachineLock(config.machine_lock)

    def stop(self) -> None:
        """Asks the worker to finish or hand back what it does, and to fetch nothing more."""
        self._stopping.set()

    async def run(self) -> None:
        """Works until stop() was called, or with `once` nothing is queued, and every slot has settled its task."""
        observe.awaited(self._service, self._kinds)
        folder = await asyncio.to_thread(OwnedFolder, _SCRATCH)
        slots = [asyncio.create_task(self._slot(n, folder.path / str(n))) for n in range(self._config.slots)]
        try:
            await asyncio.gather(*slots)
        finally:
            for slot in slots:
                slot.cancel()
            folder.remove()

    async def _slot(self, number: int, scratch: Path) -> None:
        owner = f"{os.uname().nodename}-{os.getpid()}-{number}-{uuid.uuid4().hex[:8]}"
        child = Child(self._package, scratch)
        consumer = await self._bus.work_consumer(self._service)
        try:
            while not self._stopping.is_set():
                message = await self._fetch(consumer)
                if message is not None:
                    await self._handle_safely(message, child, owner)
                elif self._config.once:
                    return
        finally:
            await child.kill()

    async def _fetch(self, consumer: JetStreamContext.PullSubscription) -> Msg | None:
        try:
            return (await consumer.fetch(1, timeout=2))[0]
        except (TimeoutError, nats.errors.TimeoutError):
            return None
        except nats.js.errors.NotFoundError:
            await self._bus.bootstrap()
            await self._bus.work_consumer(self._service)
            return None
        except (nats.errors.Error, nats.js.errors.Error, ConnectionError) as error:
            _LOG.warning("could not fetch a task: %s", error or type(error).__name__)
            await asyncio.sleep(0.5)
            return None

    # ------------------------------------------------------------------ a task

    async def _handle_safely(self, message: Msg, child: Child, owner: str) -> None:
        """Whatever goes wrong around one task, the worker goes on; the queue delivers the task again."""
        try:
            await self._handle(message, child, owner)
        except Exception:  # noqa: BLE001  told in full, and the queue has it still
            _LOG.exception("a task could not be settled; it will be delivered again")
            await child.kill()
            await asyncio.sleep(1)

    async def _handle(self, message: Msg, child: Child, owner: str) -> None:
        body = json.loads(message.data)
        task_id = f"{body['stage']}-{body['index']}"
        with task_logging(body["job_id"], task_id):
            record = await self._ledger.find(body["job_id"])
            if record is None or not self._wanted(record, body["stage"], body["index"]):
                await self._settle_unwanted(message, record, task_id)
                return
            attempts = await self._ledger.attempts(record.id, task_id)
            observe.fetched(self._service, record.kind, message, attempts.started)
            with observe.traced(record, task_id, message, attempts.started + 1):
                work = Assignment(message, record, task_id, _run(record, body), attempts)
                await self._attempt(work, child, owner)

    def _wanted(self, record: JobRecord, stage: int, index: int) -> bool:
        return (
            record.state in {JobState.QUEUED, JobState.RUNNING}
            and stage == record.stage_index
            and index not in record.stages[stage].done
        )

    async def _settle_unwanted(self, message: Msg, record: JobRecord | None, task_id: str) -> None:
        """A message for a task that is done or a job that has ended: an echo of an earlier crash.

        What the worker that died had not yet told is told now.
        """
        if record is not None and record.state in {JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED}:
            await self._planner.tell_done(record, task_id)
        if record is not None and record.state in {JobState.QUEUED, JobState.RUNNING}:
            await self._planner.advance(record.id)
        if record is not None and record.state is JobState.CANCELLING:
            await self._planner.endings.confirm_cancelled(record.id)
        if record is not None and record.state is JobState.SUCCEEDED:
            await self._planner.committer.tidy_again(record)
        await acknowledge(message)

    async def _attempt(self, work: Assignment, child: Child, owner: str) -> None:
        if work.attempts.counted >= self._config.max_attempts:
            await self._give_up(work, crash_failure(work))
            return
        attempts = replace(work.attempts, started=work.attempts.started + 1)
        await self._ledger.record_attempts(work.record.id, work.task_id, attempts)
        work = replace(work, attempts=attempts)
        observe.started(work.record, work.run.stage)
        began = time.monotonic()
        watch = TaskWatch(work.record, work.task_id, attempts, owner, work.message, self._bus, self._ledger, self._log)
        async with watch.lease():
            await self._start_job(work)
            outcome = await self._compute(work, child, watch)
            work = replace(work, attempts=watch.attempts)
            await self._bill(work, watch.llm_tokens)
            if outcome.type == "done":  # a cancellation waits for it: what is being committed is not CANCELLED
                await watch.log.save()
                await self._complete(work, outcome)
        observe.alive(self._service, 0.0)
        observe.ended(work.record, work.run.stage, outcome.type, outcome.failure, time.monotonic() - began)
        if not _healthy(outcome):
            await child.kill()
        if outcome.failure is not None:
            watch.log.add_failure(outcome.failure)
        await watch.log.save()
        await self._settle(work, outcome)

    async def _start_job(self, work: Assignment) -> None:
        def step(r: JobRecord) -> JobRecord | None:
            if r.state is not JobState.QUEUED:
                return None
            return r.to(JobState.RUNNING, start_time=r.start_time or time.time())

        record = await self._ledger.change(work.record.id, step)
        if work.record.state is JobState.QUEUED and record.state is JobState.RUNNING:
            await self._ledger.announce(record, EventType.STARTED, once="started")

    async def _bill(self, work: Assignment, tokens: int) -> None:
        """Adds to a job what an attempt spent on a language model, however it ended."""
        if tokens:
            with contextlib.suppress(NotFound):
                await self._ledger.change(work.record.id, lambda r: replace(r, llm_tokens=r.llm_tokens + tokens))

    async def _compute(self, work: Assignment, child: Child, watch: TaskWatch) -> Outcome:
        supervised = asyncio.create_task(watch.supervise(self._config.stall, self._stopping, self._config.drain))
        computing = asyncio.create_task(self._drive(work, child, watch))
        done, _ = await asyncio.wait({supervised, computing}, return_when=asyncio.FIRST_COMPLETED)
        first = computing if computing in done else supervised
        watch.end()
        for other in {supervised, computing} - {first}:
            other.cancel()
        if first is supervised:
            await child.kill()
        await asyncio.gather(supervised, computing, return_exceptions=True)
        return first.result()

    async def _drive(self, work: Assignment, child: Child, watch: TaskWatch) -> Outcome:
        async with self._lock:
            return await watch.listen(child, work.run)

    # ----------------------------------------------------------------- endings

    async def _complete(self, work: Assignment, outcome: Outcome) -> None:
        receipt = Receipt(work.task_id, outcome.parts, outcome.seconds, outcome.peak_bytes)
        await self._planner.complete_task(work.record, receipt)

    async def _settle(self, work: Assignment, outcome: Outcome) -> None:
        if outcome.type == "done":
            await self._planner.endings.confirm_cancelled(work.record.id)
            await acknowledge(work.message)
        elif outcome.type == "failed" and outcome.failure is not None:
            await self._failed(work, outcome.failure)
        elif outcome.type == "drained":
            await self._refund(work, None)
            await work.message.nak()
        elif outcome.type == "ended":
            await self._planner.endings.confirm_cancelled(work.record.id)
            await acknowledge(work.message)
        # "superseded": another worker holds the task now; it will settle it.

    async def _failed(self, work: Assignment, failure: Failure) -> None:
        failure = replace(failure, task_id=work.task_id, attempt_count=work.attempts.started + work.attempts.transient)
        record = await self._ledger.get(work.record.id)
        await self._ledger.announce(record, EventType.TASK_FAILED, task_id=work.task_id, failure=failure)
        _LOG.warning("attempt %d failed: %s", failure.attempt_count, failure.message)
        transient = failure.failure_class is FailureClass.TRANSIENT
        spent = (
            work.attempts.transient + 1 >= self._config.max_transient
            if transient
            else (work.attempts.counted >= self._config.max_attempts)
        )
        if failure.failure_class is FailureClass.USER or spent:
            await self._give_up(work, failure)
        elif transient:
            await self._refund(work, failure, transient=work.attempts.transient + 1)
            await work.message.nak(delay=_backoff(work.attempts.transient))
        else:
            await self._ledger.record_attempts(work.record.id, work.task_id, replace(work.attempts, last=failure))
            await work.message.nak(delay=_backoff(work.attempts.counted - 1))

    async def _refund(self, work: Assignment, failure: Failure | None, transient: int | None = None) -> None:
        """Takes an attempt that was not the task's fault out of its budget."""
        attempts = replace(work.attempts, started=max(0, work.attempts.started - 1), last=failure or work.attempts.last)
        if transient is not None:
            attempts = replace(attempts, transient=transient)
        await self._ledger.record_attempts(work.record.id, work.task_id, attempts)

    async def _give_up(self, work: Assignment, failure: Failure) -> None:
        observe.buried(work.record, failure)
        await self._ledger.bury(work.record, failure)
        await self._planner.endings.fail(work.record, failure)
        await work.message.term()


def _run(record: JobRecord, body: Mapping[str, Any]) -> Run:
    """Returns what the child is told of a task."""
    sizes = [stage.task_count for stage in record.stages]
    return Run(
        record.id,
        record.kind,
        dict(record.spec),
        dict(record.inputs),
        body["stage"],
        body["index"],
        body["payload"],
        sizes,
        record.namespace,
        tracing.traceparent(),
    )


async def acknowledge(message: Msg) -> None:
    """Acknowledges and waits until the server knows. One that is away delivers again, and the task is found done."""
    try:
        await message.ack_sync(timeout=5)
    except (TimeoutError, nats.errors.Error, nats.js.errors.Error, ConnectionError) as error:
        _LOG.warning("could not acknowledge: %s", error or type(error).__name__)


def _healthy(outcome: Outcome) -> bool:
    """True when the child may be used again: it ended the task by itself and nothing in it broke."""
    failure = outcome.failure
    return outcome.type == "done" or (failure is not None and failure.failure_class is not FailureClass.SYSTEM)


def _backoff(earlier: int) -> float:
    """Full jitter, from about a second to a minute."""
    return random.uniform(0.5, 1.0) * min(60.0, 1.0 * 2**earlier)
