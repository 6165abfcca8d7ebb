"""The intake: what becomes of a submission. It is refused, found to be there already, or recorded and queued."""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from dragoman import quotas, tracing
from dragoman.artifacts import InputInfo
from dragoman.errors import InvalidSpec, NotFound
from dragoman.ids import Json, artifact_id
from dragoman.jobindex import JobIndex
from dragoman.jobs import EventType, JobRecord, JobState
from dragoman.kinds import AnyKind, Spec, Stage
from dragoman.ledger import Ledger
from dragoman.planner import Planner
from dragoman.principals import CALLER
from dragoman.stages import cut
from dragoman.store import Store
from dragoman.submission import inputs_of, parse, unknown_inputs, visible

_MAX_REQUEST_ID = 128


@dataclass(frozen=True, slots=True)
class _Checked:
    """A submission in which nothing is wrong: the record that it would make, and the job's stages.

    None where an input is still to be made, or where the kind cannot cut what it has checked: the planner, when it
    comes to that, then says why.
    """

    record: JobRecord
    stages: Sequence[Stage] | None


class Intake:
    """Takes submissions for one service."""

    def __init__(
        self,
        service: str,
        kinds: Mapping[str, AnyKind],
        ledger: Ledger,
        planner: Planner,
        store: Store,
        index: JobIndex,
    ) -> None:
        self._service = service
        self._kinds = kinds
        self._ledger = ledger
        self._planner = planner
        self._store = store
        self._index = index
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def submit(self, kind: str, spec: Mapping[str, Json], request_id: str = "") -> tuple[JobRecord, bool]:
        """See Desk.submit; of a job that is there already its record, as it is stored."""
        if len(request_id) > _MAX_REQUEST_ID:
            raise InvalidSpec(f"has {len(request_id)} characters; at most {_MAX_REQUEST_ID}", field="request_id")
        checked = await self._checked(kind, spec)
        if request_id:
            await self._ledger.claim_request(request_id, checked.record.id, checked.record.namespace)
        return await self._recorded(checked)

    async def check(self, kind: str, spec: Mapping[str, Json]) -> None:
        """See Desk.check."""
        await self._checked(kind, spec)

    async def _checked(self, kind: str, spec: Mapping[str, Json]) -> _Checked:
        job_kind = self._kind(kind)
        parsed = parse(job_kind, spec)
        inputs = inputs_of(job_kind, parsed)
        # Before anything looks into them: of another namespace's inputs nothing may be told, also by a refusal.
        infos, unknown = visible(*await self._planner.inputs.infos(inputs), CALLER.get().namespace)
        if unknown:
            raise NotFound(unknown_inputs(unknown, inputs), reason="UNKNOWN_ARTIFACT")
        resolved, stages = await asyncio.to_thread(_resolved, job_kind, parsed, infos)
        canonical: dict[str, Json] = resolved.model_dump(mode="json")
        return _Checked(self._record(job_kind, canonical, inputs, infos), stages)

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
        caller = CALLER.get()
        return JobRecord(
            artifact_id(kind.name, kind.version, spec, caller.namespace),
            kind.name,
            self._service,
            JobState.WAITING,
            spec,
            inputs,
            waiting_for=tuple(sorted({info.id for info in infos.values() if info.manifest is None})),
            create_time=time.time(),
            principal=caller.name,
            namespace=caller.namespace,
            trace=tracing.traceparent(),
        )

    @contextlib.asynccontextmanager
    async def within_quota(self) -> AsyncGenerator[None]:
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

    async def _recorded(self, checked: _Checked) -> tuple[JobRecord, bool]:
        """Records a job, unless it is known or done. Returns it, and whether it is new."""
        record = checked.record
        if CALLER.get().limits.any and (known := await self._ledger.find(record.id)) is not None:
            return known, False  # what is there already counts against no quota
        if await self._planner.leftovers.may_hold(record.id):
            done = await self._committed_before(record)
            if done is not None:
                return done, False
        async with self.within_quota():
            created = await self._planner.admit(record, checked.stages)
        if created is None:
            return await self._ledger.get(record.id), False
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
        return created or await self._ledger.get(record.id)


def _resolved(kind: AnyKind, spec: Spec, infos: Mapping[str, InputInfo]) -> tuple[Spec, Sequence[Stage] | None]:
    """Returns the spec that is hashed, and the stages it is cut into. All that may take its time, in one thread."""
    resolved = kind.resolve(spec)
    kind.check(resolved, infos)
    if any(info.manifest is None for info in infos.values()):
        return resolved, None
    try:
        return resolved, cut(kind, resolved, infos)
    except Exception:  # noqa: BLE001  whatever a kind raises must end its job, not the call
        return resolved, None
