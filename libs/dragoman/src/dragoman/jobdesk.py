"""The desk over NATS: submits, finds, watches, cancels and retries jobs for one server."""

import asyncio
import contextlib
import time
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches

import nats.errors
import nats.js.errors

from dragoman import quotas, tracing
from dragoman.artifacts import InputInfo
from dragoman.bus import Bus
from dragoman.desk import JobFilter, JobPage
from dragoman.errors import InvalidSpec, NotFound, PermissionDenied
from dragoman.ids import Json, artifact_id, kind_of
from dragoman.jobindex import JobIndex
from dragoman.joblog import JobLog, LogPage
from dragoman.jobs import DeadLetter, EventType, JobEvent, JobRecord, JobState
from dragoman.kinds import AnyKind, Spec
from dragoman.ledger import Ledger, progress_of, unknown_job
from dragoman.planner import Planner
from dragoman.principals import CALLER, Role
from dragoman.records import DEAD_LETTER
from dragoman.rpc.wire import event_from_bytes
from dragoman.store import Store
from dragoman.submission import inputs_of, parse, unknown_inputs, visible

_MAX_REQUEST_ID = 128
_LOOK_AGAIN_S = 2.0
"""An event may be lost on its way to who waits; the record is not."""
_TERMINAL_EVENTS = {EventType.COMMITTED, EventType.FAILED, EventType.CANCELLED}


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
        self._service = service
        self._kinds = kinds
        self._bus = bus
        self._ledger = ledger
        self._planner = planner
        self._store = store
        self._index = index
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    # ------------------------------------------------------------------ submit

    async def submit(self, kind: str, spec: Mapping[str, Json], request_id: str = "") -> tuple[JobRecord, bool]:
        """See Desk.submit."""
        if len(request_id) > _MAX_REQUEST_ID:
            raise InvalidSpec(f"has {len(request_id)} characters; at most {_MAX_REQUEST_ID}", field="request_id")
        record, resolved, infos = await self._checked(kind, spec)
        if request_id:
            await self._ledger.claim_request(request_id, record.id, record.namespace)
        return await self._record_job(record, resolved, infos)

    async def check(self, kind: str, spec: Mapping[str, Json]) -> None:
        """See Desk.check."""
        await self._checked(kind, spec)

    async def _checked(self, kind: str, spec: Mapping[str, Json]) -> tuple[JobRecord, Spec, Mapping[str, InputInfo]]:
        """Returns the record that a submission would make, its spec, and what is known of its inputs."""
        job_kind = self._kind(kind)
        parsed = parse(job_kind, spec)
        inputs = inputs_of(job_kind, parsed)
        # Before anything looks into them: of another namespace's inputs nothing may be told, also by a refusal.
        infos, unknown = visible(*await self._planner.inputs.infos(inputs), CALLER.get().namespace)
        if unknown:
            raise NotFound(unknown_inputs(unknown, inputs), reason="UNKNOWN_ARTIFACT")
        resolved = await asyncio.to_thread(job_kind.resolve, parsed)
        await asyncio.to_thread(job_kind.check, resolved, infos)
        canonical: dict[str, Json] = resolved.model_dump(mode="json")
        return self._record(job_kind, canonical, inputs, infos), resolved, infos

    def _kind(self, name: str) -> AnyKind:
        if name in self._kinds:
            return self._kinds[name]
        near = get_close_matches(name, self._kinds, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise NotFound(
            f"{self._service} has no job kind {name!r}; it has {', '.join(sorted(self._kinds))}{hint}",
            reason="UNKNOWN_KIND",
        )

    def _record(
        self, kind: AnyKind, spec: Mapping[str, Json], inputs: Mapping[str, str], infos: Mapping[str, InputInfo]
    ) -> JobRecord:
        missing = tuple(sorted({info.id for info in infos.values() if info.manifest is None}))
        caller = CALLER.get()
        return JobRecord(
            artifact_id(kind.name, kind.version, spec, caller.namespace),
            kind.name,
            self._service,
            JobState.WAITING,
            spec,
            inputs,
            waiting_for=missing,
            create_time=time.time(),
            principal=caller.name,
            namespace=caller.namespace,
            trace=tracing.traceparent(),
        )

    @contextlib.asynccontextmanager
    async def _within_quota(self) -> AsyncGenerator[None]:
        """Raises ResourceExhausted when the caller has as much as it may have.

        Calls of one caller that has limits wait for each other: else many at once would all find room for one.
        """
        caller = CALLER.get()
        if not caller.limits.any:
            yield
            return
        async with self._turns[caller.name]:
            ended = quotas.needs_ended(caller.limits)
            jobs = await (self._index.refresh() if ended else self._index.open_jobs())
            quotas.check(caller, jobs.values(), time.time())
            yield

    async def _record_job(
        self, record: JobRecord, spec: Spec, infos: Mapping[str, InputInfo]
    ) -> tuple[JobRecord, bool]:
        if CALLER.get().limits.any and await self._ledger.find(record.id) is not None:
            return await self.get(record.id), False  # what is there already counts against no quota
        if await self._planner.leftovers.may_hold(record.id):
            done = await self._committed_before(record)
            if done is not None:
                return done, False
        async with self._within_quota():
            created = await self._planner.admit(record, spec, infos)
        if created is None:
            return await self.get(record.id), False
        waits = created.state is not JobState.QUEUED
        return replace(created, queue_position=0 if waits else await self._index.busy(self._service)), True

    async def _committed_before(self, record: JobRecord) -> JobRecord | None:
        """Returns the job of an artifact that NATS may know nothing of; None when it is not committed."""
        manifest = await asyncio.to_thread(self._store.manifest, record.id)
        if manifest is None:
            return None
        done = replace(
            record,
            state=JobState.SUCCEEDED,
            waiting_for=(),
            end_time=time.time(),
            failed_count=manifest.failed_count,
            stored_bytes=manifest.size_bytes,
        )
        created = await self._ledger.create(done)
        if created is not None:
            await self._ledger.announce(created, EventType.COMMITTED, once="committed")
        return created or await self.get(record.id)

    # -------------------------------------------------------------------- read

    async def get(self, job_id: str) -> JobRecord:
        """See Desk.get."""
        return await self._with_progress(await self._visible(job_id))

    async def _visible(self, job_id: str) -> JobRecord:
        """Returns a job that the caller may know of. Raises NotFound, in the words for a job that there is not."""
        kind_of(job_id, field="job_id")
        record = await self._ledger.get(job_id)
        if not CALLER.get().sees(record.namespace):
            raise unknown_job(job_id)
        return record

    async def _check_changeable(self, job_id: str) -> None:
        """The same for a job that the caller wants to change. Raises PermissionDenied for one that it may only read."""
        record, caller = await self._visible(job_id), CALLER.get()
        if not caller.owns(record.namespace):
            raise PermissionDenied(f"{job_id} is shared by everybody; {caller.name} may read it, and change its own")

    async def _may_know(self, job_id: str) -> bool:
        """True for a job that the caller may know of, as the index has it; of jobs that are gone an admin may."""
        caller = CALLER.get()
        if caller.role is Role.ADMIN:
            return True
        record = await self._index.find(job_id)
        return record is not None and caller.sees(record.namespace)

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
        await self._visible(job_id)
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

    async def watch(self, job_ids: Sequence[str], cursor: int, follow: bool) -> AsyncIterator[JobEvent]:
        """See Desk.watch. Survives a restart of NATS: the reader is made anew after the last cursor."""
        for job_id in job_ids:
            await self.get(job_id)
        filters = [self._bus.subject("events", "*", job_id, ">") for job_id in job_ids]
        filters = filters or [self._bus.subject("events", ">")]
        open_ids = set(job_ids)
        while True:
            reader = await self._bus.reader(self._bus.stream("EVENTS"), filters, cursor)
            try:
                async for event in _events(reader):
                    if event is not None:
                        cursor = event.cursor
                        if await self._may_know(event.job_id):
                            yield event
                    elif not follow and not (open_ids := await self._still_open(open_ids)):
                        async for rest in _events(reader, until_quiet=True):
                            if rest is not None and await self._may_know(rest.job_id):
                                yield rest
                        return
            except (nats.errors.Error, nats.js.errors.Error, ConnectionError):
                await asyncio.sleep(0.3)
            finally:
                await _leave(reader)

    async def _still_open(self, job_ids: set[str]) -> set[str]:
        return {id_ for id_ in job_ids if not (await self._ledger.get(id_)).state.terminal}

    async def log_lines(self, job_id: str, task_id: str, page_size: int, page_token: str) -> LogPage:
        """See Desk.log_lines."""
        await self._visible(job_id)
        return await asyncio.to_thread(JobLog(self._store).page, job_id, task_id, page_size, page_token)

    async def dead_letters(self, job_id: str, page_size: int) -> Sequence[DeadLetter]:
        """See Desk.dead_letters. Newest first."""
        filters = [self._bus.subject("dead", "*", "*", job_id) if job_id else self._bus.subject("dead", ">")]
        reader = await self._bus.reader(self._bus.stream("DEAD"), filters, 0)
        newest: deque[DeadLetter] = deque(maxlen=page_size)
        try:
            while True:
                for message in await reader.fetch(200, timeout=0.5):
                    letter = DEAD_LETTER.load(message.data)
                    if await self._may_know(letter.job_id):
                        newest.append(letter)
        except (TimeoutError, nats.errors.TimeoutError):
            return list(newest)[::-1]
        finally:
            await _leave(reader)

    # ------------------------------------------------------------------ change

    async def cancel(self, job_id: str) -> JobRecord:
        """See Desk.cancel."""
        await self._check_changeable(job_id)
        return await self._planner.endings.cancel(job_id)

    async def retry(self, job_id: str) -> JobRecord:
        """See Desk.retry. Any server may take the wish; the job's own service plans it."""
        await self._check_changeable(job_id)
        async with self._within_quota():
            return await self._planner.retry(job_id)


async def _events(reader: object, until_quiet: bool = False) -> AsyncIterator[JobEvent | None]:
    """Yields events, and None whenever the log has been quiet for a moment."""
    while True:
        try:
            messages = await reader.fetch(200, timeout=0.5)  # pyright: ignore
        except (TimeoutError, nats.errors.TimeoutError):
            if until_quiet:
                return
            yield None
            continue
        for message in messages:
            yield event_from_bytes(message.data, message.metadata.sequence.stream)


async def _leave(reader: object) -> None:
    try:
        await reader.unsubscribe()  # pyright: ignore
    except (nats.errors.Error, ConnectionError):
        return


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
