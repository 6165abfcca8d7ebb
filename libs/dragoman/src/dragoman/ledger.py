"""The ledger: job records, leases, attempts and waits in the key-value store, changed only by compare-and-set."""

import asyncio
import hashlib
import itertools
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import nats.js.errors
from nats.js.kv import KeyValue

from dragoman.bus import Bus
from dragoman.errors import AlreadyExists, NotFound
from dragoman.jobs import (
    DeadLetter,
    EventType,
    Failure,
    JobEvent,
    JobProgress,
    JobRecord,
)
from dragoman.records import ATTEMPTS, DEAD_LETTER, LEASE, Attempts, Lease, job_from_bytes, job_to_bytes
from dragoman.rpc.wire import event_to_bytes

_LONGEST_PAUSE = 0.3
"""Seconds that one of many who change a record waits, at most, before it tries once more."""


class Ledger:
    """Reads and changes what NATS knows about jobs."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    # -------------------------------------------------------------------- jobs

    async def find(self, job_id: str) -> JobRecord | None:
        """Returns a job, or None."""
        entry = await self._get("jobs", job_id)
        return None if entry is None else job_from_bytes(entry[0], entry[1])

    async def get(self, job_id: str) -> JobRecord:
        """Returns a job. Raises NotFound."""
        record = await self.find(job_id)
        if record is None:
            raise unknown_job(job_id)
        return record

    async def create(self, record: JobRecord) -> JobRecord | None:
        """Stores a new job. None when there is one with its id already."""
        try:
            revision = await self._bus.patiently(lambda: self._jobs.create(record.id, job_to_bytes(record)))
        except nats.js.errors.KeyWrongLastSequenceError:
            return None
        return replace(record, revision=revision)

    async def change(
        self, job_id: str, step: Callable[[JobRecord], JobRecord | None], known: JobRecord | None = None
    ) -> JobRecord:
        """Applies a step to the newest record until no one else was faster. A step that returns None changes nothing.

        The step may run several times; it must be a pure function. Errors that it raises pass through. `known` is what
        was read a moment ago: if it is the newest still, it need not be read again.
        """
        for tries in itertools.count():
            record, known = known or await self.get(job_id), None
            changed = step(record)
            if changed is None or changed == record:
                return record
            try:
                revision = await self._bus.patiently(
                    lambda changed=changed, record=record: self._jobs.update(
                        job_id, job_to_bytes(changed), last=record.revision
                    )
                )
            except nats.js.errors.KeyWrongLastSequenceError:
                await asyncio.sleep(random.uniform(0.0, min(_LONGEST_PAUSE, 0.005 * 2**tries)))
                continue
            return replace(changed, revision=revision)
        raise AssertionError("a count never ends")

    async def remove(self, job_id: str) -> None:
        """Forgets a job. Leaves a marker, by which readers of the bucket learn of it."""
        await self._bus.patiently(lambda: self._jobs.delete(job_id))
        await self.forget_attempts(job_id)
        await self._erase("waits", f"*.{job_id}")

    @property
    def _jobs(self) -> KeyValue:
        return self._bus.bucket("jobs")

    # ---------------------------------------------------------------- requests

    async def claim_request(self, request_id: str, job_id: str, namespace: str = "") -> None:
        """Binds a request id of a namespace to a job. Raises AlreadyExists when it is bound to another."""
        scoped = f"{namespace}\n{request_id}" if namespace else request_id
        key = hashlib.sha256(scoped.encode()).hexdigest()
        try:
            await self._bus.patiently(lambda: self._bus.bucket("requests").create(key, job_id.encode()))
        except nats.js.errors.KeyWrongLastSequenceError:
            entry = await self._get("requests", key)
            holder = entry[0].decode() if entry else job_id
            if holder != job_id:
                raise AlreadyExists(
                    f"request id {request_id!r} was used for {holder}, whose spec differs from this one ({job_id}); "
                    "use a new request id for a new spec",
                    reason="REQUEST_ID_REUSED",
                ) from None

    # ------------------------------------------------------------------ leases

    async def hold(self, job_id: str, task_id: str, lease: Lease) -> None:
        """Writes or renews the lease of a running task."""
        await self._bus.patiently(lambda: self._bus.bucket("running").put(f"{job_id}.{task_id}", LEASE.dump(lease)))

    async def release(self, job_id: str, task_id: str) -> None:
        """Ends the lease of a task."""
        await self._erase("running", f"{job_id}.{task_id}")

    async def leases(self, job_id: str) -> Mapping[str, Lease]:
        """Returns the running tasks of a job by task id."""
        keys = await self._keys("running", f"{job_id}.>")
        entries = [(key, await self._get("running", key)) for key in keys]
        return {key.rpartition(".")[2]: LEASE.load(entry[0]) for key, entry in entries if entry is not None}

    # ---------------------------------------------------------------- attempts

    async def attempts(self, job_id: str, task_id: str) -> Attempts:
        """Returns what is known of a task's earlier attempts."""
        entry = await self._get("attempts", f"{job_id}.{task_id}")
        return Attempts() if entry is None else ATTEMPTS.load(entry[0])

    async def record_attempts(self, job_id: str, task_id: str, attempts: Attempts) -> None:
        """Stores a task's attempts."""
        key = f"{job_id}.{task_id}"
        await self._bus.patiently(lambda: self._bus.bucket("attempts").put(key, ATTEMPTS.dump(attempts)))

    async def forget_attempts(self, job_id: str) -> None:
        """Gives every task of a job a fresh budget."""
        await self._erase("attempts", f"{job_id}.>")

    # ------------------------------------------------------------------- waits

    async def add_wait(self, input_id: str, job_id: str) -> None:
        """Notes that a job must be looked at again when an input commits or fails."""
        await self._bus.patiently(lambda: self._bus.bucket("waits").put(f"{input_id}.{job_id}", b"1"))

    async def waiting_on(self, input_id: str) -> Sequence[str]:
        """Returns the jobs that wait for an artifact."""
        return [key.partition(".")[2] for key in await self._keys("waits", f"{input_id}.*")]

    async def drop_waits(self, record: JobRecord) -> None:
        """Removes the notes of a job that has all its inputs."""
        for input_id in set(record.inputs.values()):
            await self._erase("waits", f"{input_id}.{record.id}")

    # ------------------------------------------------------------------ events

    async def announce(
        self,
        record: JobRecord,
        type_: EventType,
        *,
        progress: JobProgress | None = None,
        task_id: str = "",
        failure: Failure | None = None,
        message: str = "",
        once: str = "",
    ) -> None:
        """Appends an event. `once` names a fact that must not be told twice, see topology."""
        event = JobEvent(
            record.id, record.kind, type_, record.state, time.time(), 0, progress, task_id, failure, message
        )
        subject = self._bus.subject("events", record.kind, record.id, type_.value)
        message_id = f"{_life(record)}.{type_}.{once}" if once else ""
        await self._bus.publish("EVENTS", subject, event_to_bytes(event), message_id, record.trace)

    async def bury(self, record: JobRecord, failure: Failure) -> None:
        """Appends a task that was given up to the dead-letter log."""
        letter = DEAD_LETTER.dump(DeadLetter(record.id, failure.task_id, failure, time.time()))
        subject = self._bus.subject("dead", record.service, record.kind, record.id)
        await self._bus.publish("DEAD", subject, letter, f"{_life(record)}.{failure.task_id}")

    # ----------------------------------------------------------------- buckets

    async def _get(self, bucket: str, key: str) -> tuple[bytes, int] | None:
        try:
            entry = await self._bus.patiently(lambda: self._bus.bucket(bucket).get(key))
        except (nats.js.errors.KeyNotFoundError, nats.js.errors.KeyDeletedError):
            return None
        return None if entry.value is None or entry.revision is None else (entry.value, entry.revision)

    async def _keys(self, bucket: str, filter_: str) -> Sequence[str]:
        prefix = f"$KV.{self._bus.config.namespace}_{bucket}."
        subjects = await self._bus.subjects(f"KV_{self._bus.config.namespace}_{bucket}", prefix + filter_)
        return sorted(subject.removeprefix(prefix) for subject in subjects)

    async def _erase(self, bucket: str, filter_: str) -> None:
        """Removes keys without leaving delete markers behind."""
        name = f"{self._bus.config.namespace}_{bucket}"
        await self._bus.purge(f"KV_{name}", f"$KV.{name}.{filter_}")


def unknown_job(job_id: str) -> NotFound:
    """Says that there is no such job: in the same words whether it is another namespace's or nobody's."""
    return NotFound(f"there is no job {job_id}; `dragoman jobs` lists those there are", reason="UNKNOWN_JOB")


def _life(record: JobRecord) -> str:
    """Names a job from its submission, or retry, on: a deleted artifact's job may be submitted again at once."""
    return f"{record.id}.{record.create_time}.{record.retry_count}"


def progress_of(record: JobRecord, leases: Mapping[str, Lease]) -> JobProgress:
    """Sums up the current stage: finished tasks, and what the running ones say of themselves."""
    if not record.stages:
        return JobProgress()
    stage = record.stages[min(record.stage_index, len(record.stages) - 1)]
    running = [
        lease
        for task_id, lease in leases.items()
        if task_id.startswith(f"{record.stage_index}-") and int(task_id.partition("-")[2]) not in stage.done
    ]
    partial = sum(min(1.0, lease.done / lease.total) for lease in running if lease.total > 0)
    fraction = min(1.0, (len(stage.done) + partial) / stage.task_count) if stage.task_count else 1.0
    newest = max(running, key=lambda lease: lease.done, default=None)
    units_total = newest.total * stage.task_count if newest else 0.0
    return JobProgress(
        stage=stage.name,
        stage_index=record.stage_index,
        stage_count=len(record.stages),
        done_count=len(stage.done),
        total_count=stage.task_count,
        fraction=fraction,
        units_done=fraction * units_total,
        units_total=units_total,
        unit=newest.unit if newest else "",
        rate=sum(lease.rate for lease in running),
        message=newest.message if newest else "",
        metrics=dict(newest.metrics) if newest else {},
    )
