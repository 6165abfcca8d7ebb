"""An index of all jobs in memory, brought up to date from the key-value stream whenever it is asked."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping

import nats.errors

from dragoman.bus import Bus
from dragoman.jobs import JobRecord, JobState
from dragoman.records import job_from_bytes

_BATCH = 500
_COUNTED_FOR_S = 1.0


class JobIndex:
    """Every job's newest record. Reads only what changed since it was last asked; holds no subscription between."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._jobs: dict[str, JobRecord] = {}
        self._open: dict[str, JobRecord] = {}
        self._busy = Counter[str]()
        self._counted_at = -_COUNTED_FOR_S
        self._seen = 0
        self._begun = 0
        self._lock = asyncio.Lock()

    async def refresh(self) -> Mapping[str, JobRecord]:
        """Returns all jobs by id, as of now."""
        await self._catch_up()
        return dict(self._jobs)

    async def open_jobs(self) -> Mapping[str, JobRecord]:
        """Returns the jobs that have not ended, by id, as of now."""
        await self._catch_up()
        return dict(self._open)

    async def busy(self, service: str) -> int:
        """Returns how many jobs of a service were queued or running, as of a second ago at most."""
        now = time.monotonic()
        if now - self._counted_at >= _COUNTED_FOR_S:
            self._counted_at = now  # who asks meanwhile is told what is known
            states = {JobState.QUEUED, JobState.RUNNING}
            self._busy = Counter(job.service for job in (await self.open_jobs()).values() if job.state in states)
        return self._busy[service]

    async def find(self, job_id: str) -> JobRecord | None:
        """Returns a job, as of now or a moment ago; None when there is none."""
        if job_id not in self._jobs:
            await self._catch_up()
        return self._jobs.get(job_id)

    async def _catch_up(self) -> None:
        """Of many who ask at a time, one reads for all that came before it began."""
        asked_after = self._begun
        async with self._lock:
            if self._begun > asked_after:
                return
            self._begun += 1
            bucket = f"{self._bus.config.namespace}_jobs"
            stream, prefix = f"KV_{bucket}", f"$KV.{bucket}."
            info = await self._bus.patiently(lambda: self._bus.js.stream_info(stream))
            if info.state.last_seq < self._seen:  # the server's state was lost and begun anew
                self._jobs, self._open, self._seen = {}, {}, 0
            if info.state.last_seq > self._seen:
                await self._read(stream, prefix)
                self._seen = max(self._seen, info.state.last_seq)

    async def _read(self, stream: str, prefix: str) -> None:
        reader = await self._bus.reader(stream, [f"{prefix}>"], self._seen, last_per_subject=True)
        try:
            while True:
                try:
                    messages = await reader.fetch(_BATCH, timeout=1)
                except (TimeoutError, nats.errors.TimeoutError):
                    return
                for message in messages:
                    sequence = message.metadata.sequence.stream
                    job_id = message.subject.removeprefix(prefix)
                    self._open.pop(job_id, None)
                    if message.data:
                        job = self._jobs[job_id] = job_from_bytes(message.data, sequence)
                        self._open |= {} if job.state.terminal else {job_id: job}
                    else:  # the marker of a removed job
                        self._jobs.pop(job_id, None)
                    self._seen = max(self._seen, sequence)
                if messages[-1].metadata.num_pending == 0:
                    return
        finally:
            await reader.unsubscribe()
