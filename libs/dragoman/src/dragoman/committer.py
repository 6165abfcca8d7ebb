"""The commit: receipts of all tasks become one manifest, written once, and the job's traces are removed."""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from dragoman.artifacts import Manifest
from dragoman.endings import Endings, failure_of
from dragoman.inputs import Inputs
from dragoman.jobs import EventType, JobRecord, JobState
from dragoman.kinds import AnyKind
from dragoman.ledger import Ledger
from dragoman.records import RECEIPT, Receipt
from dragoman.store import Store


class Committer:
    """Commits the artifacts of one service's jobs."""

    def __init__(
        self,
        kinds: Mapping[str, AnyKind],
        ledger: Ledger,
        store: Store,
        inputs: Inputs,
        endings: Endings,
        software: Mapping[str, str],
    ) -> None:
        self._kinds = kinds
        self._ledger = ledger
        self._store = store
        self._inputs = inputs
        self._endings = endings
        self._software = dict(software)

    async def receipts(self, job_id: str) -> Mapping[str, Receipt]:
        """Returns the receipts of a job by task id."""
        raw = await asyncio.to_thread(self._store.list_receipts, job_id)
        receipts = [RECEIPT.parse(value) for value in raw]
        return {receipt.task_id: receipt for receipt in receipts}

    async def finish(self, record: JobRecord) -> None:
        """Combines the parts of a job whose last stage is complete, and commits them."""
        receipts = await self.receipts(record.id)
        parts = [
            part
            for n, s in enumerate(record.stages)
            for i in range(s.task_count)
            for part in receipts[f"{n}-{i}"].parts
        ]
        infos, _ = await self._inputs.infos(record.inputs)
        kind = self._kinds[record.kind]
        try:
            summary = await asyncio.to_thread(kind.combine, kind.spec.model_validate(record.spec), infos, parts)
        except Exception as error:  # noqa: BLE001  whatever a kind raises must end its job, not its worker
            await self._endings.fail(record, failure_of(error, "COMBINE_FAILED"))
            return
        manifest = Manifest(
            record.id,
            record.kind,
            kind.version,
            record.spec,
            record.inputs,
            [p for p in parts if p.keep],
            summary.statistics,
            summary.failed_count,
            datetime.now(UTC).isoformat(timespec="seconds"),
            self._software,
            {**_cost(record, receipts), **summary.cost},
            record.namespace,
        )
        committed = await asyncio.to_thread(self._store.commit, manifest)
        await self._succeed(record, committed)

    async def _succeed(self, record: JobRecord, manifest: Manifest) -> None:
        """Records that a job's artifact is committed, tells it, and tidies up after the job."""

        def step(r: JobRecord) -> JobRecord | None:
            if r.state.terminal:
                return None
            told = {"failed_count": manifest.failed_count, "stored_bytes": manifest.size_bytes}
            return r.to(JobState.SUCCEEDED, end_time=time.time(), **told)

        record = await self._ledger.change(record.id, step, known=record)
        if record.state is JobState.SUCCEEDED:
            await self._ledger.announce(record, EventType.COMMITTED, once="committed")
            await self.tidy(record, manifest)

    async def tidy(self, record: JobRecord, manifest: Manifest) -> None:
        """Removes what a committed artifact no longer needs: intermediates, checkpoints, receipts, attempts.

        The last task's message is acknowledged after it, so that a crash in the middle is made good.
        """
        await asyncio.gather(
            self._ledger.forget_attempts(record.id),
            asyncio.to_thread(self._store.sweep, record.id, manifest),
            asyncio.to_thread(self._store.delete_checkpoints, record.id),
            asyncio.to_thread(self._store.delete_receipts, record.id),
        )

    async def tidy_again(self, record: JobRecord) -> None:
        """Tidies up after a job whose last task was delivered once more, and tells of the commit if nobody has."""
        await self._ledger.announce(record, EventType.COMMITTED, once="committed")
        manifest = await asyncio.to_thread(self._store.manifest, record.id)
        if manifest is not None:
            await self.tidy(record, manifest)


def _cost(record: JobRecord, receipts: Mapping[str, Receipt]) -> Mapping[str, float]:
    """Sums up the time of all tasks, and takes the most memory that one of them needed."""
    spent = [receipts[f"{n}-{i}"] for n, stage in enumerate(record.stages) for i in range(stage.task_count)]
    return {
        "task_seconds": round(sum(receipt.seconds for receipt in spent), 3),
        "peak_memory_bytes": float(max((receipt.peak_bytes for receipt in spent), default=0)),
    }
