"""The desk over NATS: submits, finds, watches, cancels and retries jobs for one server."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

from dragoman.bus import Bus
from dragoman.desk import JobFilter, JobPage
from dragoman.errors import InvalidSpec
from dragoman.ids import Json
from dragoman.intake import Intake
from dragoman.jobaccess import JobAccess
from dragoman.jobindex import JobIndex
from dragoman.joblog import JobLog, LogPage
from dragoman.jobs import DeadLetter, JobEvent, JobRecord, JobState
from dragoman.jobwatch import JobWatch
from dragoman.kinds import AnyKind
from dragoman.ledger import Ledger, progress_of
from dragoman.planner import Planner
from dragoman.principals import CALLER
from dragoman.store import Store

_LOOK_AGAIN_S = 2.0
"""An event may be lost on its way to who waits; the record is not."""


class JobDesk:
    """Implements `dragoman.desk.Desk`."""

    def __init__(
        self,
        service: str,
        kinds: Mapping[str, AnyKind],
        bus: Bus,
        ledger: Ledger,
        planner: Planner,
        store: Store,
        index: JobIndex,
    ) -> None:
        self._bus = bus
        self._ledger = ledger
        self._planner = planner
        self._store = store
        self._index = index
        self._intake = Intake(service, kinds, ledger, planner, store, index)
        self._access = JobAccess(ledger, index)
        self._watch = JobWatch(bus, ledger, self._access)

    # ------------------------------------------------------------------ submit

    async def submit(self, kind: str, spec: Mapping[str, Json], request_id: str = "") -> tuple[JobRecord, bool]:
        """See Desk.submit."""
        record, created = await self._intake.submit(kind, spec, request_id)
        return record if created else await self._with_progress(record), created

    async def check(self, kind: str, spec: Mapping[str, Json]) -> None:
        """See Desk.check."""
        await self._intake.check(kind, spec)

    # -------------------------------------------------------------------- read

    async def get(self, job_id: str) -> JobRecord:
        """See Desk.get."""
        return await self._with_progress(await self._access.visible(job_id))

    async def _with_progress(self, record: JobRecord) -> JobRecord:
        leases = await self._ledger.leases(record.id) if record.state is JobState.RUNNING else {}
        position = await self._queue_position(record) if record.state is JobState.QUEUED else 0
        return replace(record, progress=progress_of(record, leases), queue_position=position)

    async def _queue_position(self, record: JobRecord) -> int:
        jobs = await self._index.open_jobs()
        return sum(
            job.service == record.service
            and job.state in {JobState.QUEUED, JobState.RUNNING}
            and job.create_time < record.create_time
            for job in jobs.values()
        )

    async def list(self, filter: JobFilter, page_size: int, page_token: str) -> JobPage:
        """See Desk.list."""
        caller, known = CALLER.get(), (await self._index.refresh()).values()
        jobs = [job for job in known if caller.sees(job.namespace) and _matches(job, filter)]
        jobs.sort(key=lambda job: (-job.create_time, job.id))
        start = 0
        if page_token:
            after = _page_key(page_token)
            start = next((n for n, job in enumerate(jobs) if (-job.create_time, job.id) > after), len(jobs))
        page = jobs[start : start + page_size]
        more = start + page_size < len(jobs)
        token = f"{page[-1].create_time!r}/{page[-1].id}" if more else ""
        return JobPage([await self._with_progress(job) for job in page], token, len(jobs))

    async def wait(self, job_id: str, timeout: float) -> JobRecord:
        """See Desk.wait."""
        await self._access.visible(job_id)
        deadline = time.monotonic() + timeout
        async with self._bus.heard(self._bus.subject("events", "*", job_id, "*")) as heard:
            while True:
                heard.clear()
                record = await self._ledger.get(job_id)
                left = deadline - time.monotonic()
                if record.state.terminal or left <= 0:
                    return await self._with_progress(record)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(_LOOK_AGAIN_S, left)):
                        await heard.wait()

    def watch(self, job_ids: Sequence[str], cursor: int, follow: bool) -> AsyncIterator[JobEvent]:
        """See Desk.watch."""
        return self._watch.events(job_ids, cursor, follow)

    async def log_lines(self, job_id: str, task_id: str, page_size: int, page_token: str) -> LogPage:
        """See Desk.log_lines."""
        await self._access.visible(job_id)
        return await asyncio.to_thread(JobLog(self._store).page, job_id, task_id, page_size, page_token)

    async def dead_letters(self, job_id: str, page_size: int) -> Sequence[DeadLetter]:
        """See Desk.dead_letters."""
        return await self._watch.dead_letters(job_id, page_size)

    # ------------------------------------------------------------------ change

    async def cancel(self, job_id: str) -> JobRecord:
        """See Desk.cancel."""
        await self._access.check_changeable(job_id)
        return await self._planner.endings.cancel(job_id)

    async def retry(self, job_id: str) -> JobRecord:
        """See Desk.retry. Any server may take the wish; the job's own service plans it."""
        await self._access.check_changeable(job_id)
        async with self._intake.within_quota():
            return await self._planner.retry(job_id)


def _matches(job: JobRecord, filter: JobFilter) -> bool:
    return (
        (not filter.kinds or job.kind in filter.kinds)
        and (not filter.states or job.state in filter.states)
        and job.create_time >= filter.created_after
    )


def _page_key(token: str) -> tuple[float, str]:
    created, _, job_id = token.partition("/")
    try:
        return -float(created), job_id
    except ValueError:
        raise InvalidSpec(f"{token!r} is not a page token of ours", field="page_token") from None
