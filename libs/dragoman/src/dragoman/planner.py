"""The planner: wakes jobs whose inputs are committed, moves them from stage to stage, and commits their artifacts.

There is no orchestrator: every server and every worker may call every function here at any time. Each is safe to
repeat, because what it changes is changed by compare-and-set and what it publishes is refused when it is there.
"""

import asyncio
import json
import logging
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

from dragoman.artifacts import InputInfo
from dragoman.bus import Bus
from dragoman.committer import Committer
from dragoman.endings import Endings, failure_of
from dragoman.errors import FailureClass
from dragoman.ids import Json
from dragoman.inputs import Inputs
from dragoman.jobs import EventType, Failure, JobRecord, JobState
from dragoman.kinds import AnyKind, Stage
from dragoman.ledger import Ledger
from dragoman.leftovers import Leftovers
from dragoman.records import RECEIPT, Receipt
from dragoman.stages import plan_stages, planned
from dragoman.store import Store

_LOG = logging.getLogger(__name__)

_IN_FLIGHT = 100
"""Tasks that are being queued at a time: one after another, each would wait for the server's disk."""


class Planner:
    """Plans and completes the jobs of one service."""

    def __init__(
        self,
        service: str,
        kinds: Mapping[str, AnyKind],
        ledger: Ledger,
        bus: Bus,
        store: Store,
        software: Mapping[str, str],
    ) -> None:
        self._service = service
        self._kinds = kinds
        self._ledger = ledger
        self._bus = bus
        self._store = store
        self.inputs = Inputs(ledger, store)
        self.endings = Endings(bus, ledger)
        self.committer = Committer(kinds, ledger, store, self.inputs, self.endings, software)
        self.leftovers = Leftovers(tuple(kinds), bus, store)

    # ------------------------------------------------------------------- admit

    async def admit(self, record: JobRecord, stages: Sequence[Stage] | None) -> JobRecord | None:
        """Records a new job, and queues it when its inputs are committed. None when there is one of its id already.

        With stages it is written as QUEUED at once, and one event tells both. What a crash keeps back of the tasks,
        `repair` publishes. Without stages an input is still to be made, or `examine` says why there are none.
        """
        if stages is None:
            return await self._admit_waiting(record)
        done = await self.committer.receipts(record.id) if await self.leftovers.may_hold(record.id) else {}
        created = await self._ledger.create(record.to(JobState.QUEUED, stages=planned(stages, done)))
        if created is None:
            return None
        await asyncio.gather(
            self._ledger.announce(created, EventType.CREATED, once="created"),
            self._publish_stage(created, stages),
        )
        if created.stages[0].complete:
            await self.advance(record.id)
        return created

    async def _admit_waiting(self, record: JobRecord) -> JobRecord | None:
        if await self._ledger.find(record.id) is not None:
            return None
        for input_id in set(record.inputs.values()):
            await self._ledger.add_wait(input_id, record.id)
        created = await self._ledger.create(record)
        if created is None:
            return None
        await self._ledger.announce(created, EventType.CREATED, once="created")
        await self.examine(record.id, created)
        return await self._ledger.get(record.id)

    # -------------------------------------------------------------------- wake

    async def examine(self, job_id: str, known: JobRecord | None = None) -> None:
        """Looks at a waiting job: queues it when its inputs are committed, fails it when one of them failed.

        `known` is its record, when that was made a moment ago.
        """
        record = known or await self._ledger.find(job_id)
        if record is None or record.service != self._service or not _waits(record):
            return
        infos, _ = await self.inputs.infos(record.inputs)
        missing = [id_ for role, id_ in record.inputs.items() if role not in infos or infos[role].manifest is None]
        if not missing:
            await self._queue(record, infos)
            return
        broken = await self.inputs.broken(missing)
        if broken is not None:
            await self._fail_for_input(record, broken)
        elif record.state is JobState.FAILED:
            await self._ledger.change(job_id, lambda r: _rewait(r, missing))
        else:
            await self._ledger.change(job_id, lambda r: replace(r, waiting_for=tuple(missing)) if _waits(r) else None)

    async def _fail_for_input(self, record: JobRecord, broken: JobRecord) -> None:
        cause = broken.failure.message if broken.failure else f"it is {broken.state}"
        failure = Failure(
            "INPUT_FAILED", f"input {broken.id} is {broken.state}: {cause}; retry that job first", FailureClass.INPUT
        )
        if record.state is JobState.WAITING:
            await self.endings.fail(record, failure)

    async def _queue(self, record: JobRecord, infos: Mapping[str, InputInfo]) -> None:
        kind = self._kinds[record.kind]
        try:
            stages = await asyncio.to_thread(plan_stages, kind, record.spec, infos)
        except Exception as error:  # noqa: BLE001  whatever a kind raises must end its job, not the planner
            await self.endings.fail(record, failure_of(error, "PLAN_FAILED"))
            return
        done = await self.committer.receipts(record.id)
        records = planned(stages, done)

        def step(r: JobRecord) -> JobRecord | None:
            if not _waits(r):
                return None
            return r.to(JobState.QUEUED, stages=records, stage_index=0, waiting_for=(), failure=None, end_time=0.0)

        changed = await self._ledger.change(record.id, step, known=record)
        if changed.state is not JobState.QUEUED:
            return
        await self._ledger.announce(changed, EventType.QUEUED, once="queued")
        await self._ledger.drop_waits(changed)
        await self._publish_stage(changed, stages)
        if changed.stages[0].complete:
            await self.advance(record.id)

    # ------------------------------------------------------------------ stages

    def task_subject(self, record: JobRecord, stage: int, index: int | str) -> str:
        """Subject of a task on the work queue; `index` may be a wildcard."""
        return self._bus.subject("tasks", record.service, record.kind, record.id, str(stage), str(index))

    async def _publish_stage(self, record: JobRecord, stages: Sequence[Stage]) -> None:
        """Queues the tasks that are not done, in order, many on their way to the server at a time."""
        stage, tasks = record.stages[record.stage_index], stages[record.stage_index].tasks
        left = [index for index in range(len(tasks)) if index not in stage.done]
        for at in range(0, len(left), _IN_FLIGHT):
            await asyncio.gather(*(self._publish(record, index, tasks[index]) for index in left[at : at + _IN_FLIGHT]))

    async def _publish(self, record: JobRecord, index: int, payload: Mapping[str, Json]) -> None:
        body = {"job_id": record.id, "stage": record.stage_index, "index": index, "payload": dict(payload)}
        subject = self.task_subject(record, record.stage_index, index)
        await self._bus.enqueue(subject, json.dumps(body).encode(), record.trace)

    async def advance(self, job_id: str, known: JobRecord | None = None) -> None:
        """Goes on to the next stage, or commits the artifact, when the current stage is complete.

        `known` is the job's record, when it was read a moment ago.
        """
        record = known or await self._ledger.find(job_id)
        while record is not None and record.state in {JobState.QUEUED, JobState.RUNNING}:
            if not record.stages or not record.stages[record.stage_index].complete:
                return
            if record.stage_index + 1 == len(record.stages):
                await self.committer.finish(record)
                return
            at = record.stage_index
            record = await self._ledger.change(
                job_id,
                lambda r, at=at: (
                    replace(r, stage_index=at + 1) if r.stage_index == at and not r.state.terminal else None
                ),
            )
            await self._publish_stage(record, await self._plan_again(record))

    async def _plan_again(self, record: JobRecord) -> Sequence[Stage]:
        infos, _ = await self.inputs.infos(record.inputs)
        return await asyncio.to_thread(plan_stages, self._kinds[record.kind], record.spec, infos)

    async def retry(self, job_id: str) -> JobRecord:
        """Queues a FAILED or CANCELLED job again; parts that are done stay done."""

        def step(r: JobRecord) -> JobRecord | None:
            return r.to(
                JobState.WAITING,
                retry_count=r.retry_count + 1,
                failure=None,
                end_time=0.0,
                start_time=0.0,
                stages=(),
                stage_index=0,
            )

        record = await self._ledger.get(job_id)
        if record.state is JobState.WAITING:
            return record
        await self._ledger.forget_attempts(job_id)
        for input_id in set(record.inputs.values()):
            await self._ledger.add_wait(input_id, job_id)
        record = await self._ledger.change(job_id, step)
        await self._ledger.announce(record, EventType.RETRIED, once="retried")
        await self.examine(job_id)
        return await self._ledger.get(job_id)

    # -------------------------------------------------------------- completion

    async def complete_task(self, record: JobRecord, receipt: Receipt) -> None:
        """Records a finished task: receipt in the store, then the job record, then the event."""
        stage, index = (int(x) for x in receipt.task_id.split("-"))
        await asyncio.to_thread(self._store.put_receipt, record.id, receipt.task_id, RECEIPT.plain(receipt))

        def step(r: JobRecord) -> JobRecord | None:
            if r.state.terminal or r.state is JobState.CANCELLING or stage >= len(r.stages):
                return None
            stages = list(r.stages)
            stages[stage] = replace(stages[stage], done=stages[stage].done.add(index))
            return replace(r, stages=tuple(stages))

        changed = await self._ledger.change(record.id, step)
        if not changed.state.terminal:
            await self.tell_done(changed, receipt.task_id)
        if changed.stages and changed.stages[changed.stage_index].complete:
            await self.advance(record.id, changed)

    async def tell_done(self, record: JobRecord, task_id: str) -> None:
        """Tells that a task is done, if it is and the log has not been told."""
        stage, index = (int(x) for x in task_id.split("-"))
        if stage < len(record.stages) and index in record.stages[stage].done:
            await self._ledger.announce(record, EventType.TASK_DONE, task_id=task_id, once=task_id)

    # ------------------------------------------------------------------ repair

    async def repair(self, record: JobRecord, queued: Container[str] | None = None) -> None:
        """Puts right what a crash between two steps left undone. Cheap when there is nothing to mend.

        `queued` are the subjects on the work queue, listed after the record was read: who looks at many jobs lists them
        once. None: they are asked for.
        """
        if record.service != self._service:
            return
        if record.state is JobState.WAITING:
            await self.examine(record.id)
        elif record.state is JobState.CANCELLING:
            await self.endings.confirm_cancelled(record.id)
        elif record.state in {JobState.QUEUED, JobState.RUNNING}:
            await self._republish(record, queued)

    async def _republish(self, record: JobRecord, queued: Container[str] | None) -> None:
        stage = record.stages[record.stage_index]
        if stage.complete:
            await self.advance(record.id)
            return
        if queued is None:
            queued = await self._bus.queued(self.task_subject(record, record.stage_index, "*"))
        lost = [
            i
            for i in range(stage.task_count)
            if i not in stage.done and self.task_subject(record, record.stage_index, i) not in queued
        ]
        if lost:
            await self._publish_lost(record, lost)

    async def _publish_lost(self, record: JobRecord, lost: Sequence[int]) -> None:
        newest = await self._ledger.get(record.id)
        if newest.revision != record.revision:
            return
        _LOG.warning("publishing %d lost task(s) again", len(lost), extra={"job_id": record.id})
        receipts = await self.committer.receipts(record.id)
        for index in lost:
            receipt = receipts.get(f"{record.stage_index}-{index}")
            if receipt is not None:
                await self.complete_task(record, receipt)
        await self._publish_stage(await self._ledger.get(record.id), await self._plan_again(record))


def _waits(record: JobRecord) -> bool:
    """True for jobs that an input's commit may wake."""
    failure = record.failure
    return record.state is JobState.WAITING or (
        record.state is JobState.FAILED and failure is not None and failure.failure_class is FailureClass.INPUT
    )


def _rewait(record: JobRecord, missing: Sequence[str]) -> JobRecord | None:
    if not _waits(record) or record.state is not JobState.FAILED:
        return None
    return record.to(JobState.WAITING, failure=None, end_time=0.0, waiting_for=tuple(missing))
