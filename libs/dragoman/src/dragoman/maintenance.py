"""What an operator does now and then: collect garbage, delete an artifact, rebuild lost job records."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from dragoman.artifacts import Manifest
from dragoman.errors import DataLoss, FailedPrecondition, NotFound
from dragoman.garbage import ANSWERS, PREFIXES, Garbage, by_job, find_garbage, is_committed
from dragoman.jobindex import JobIndex
from dragoman.jobs import JobRecord, JobState
from dragoman.ledger import Ledger
from dragoman.objects import Listed
from dragoman.rpc.methods import SUBMITS
from dragoman.store import Store, artifact_prefix, manifest_key

_LOG = logging.getLogger(__name__)
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """Which jobs were made anew, of how many committed artifacts."""

    job_ids: Sequence[str]
    artifact_count: int


class Maintenance:
    """Works over the whole suite, whichever server is asked. Safe to repeat and to interrupt."""

    def __init__(self, store: Store, ledger: Ledger, index: JobIndex) -> None:
        self._store = store
        self._ledger = ledger
        self._index = index

    # ---------------------------------------------------------------- garbage

    async def collect_garbage(
        self, older_than: float, delete: bool, answers_older_than: float | None = None
    ) -> Sequence[Garbage]:
        """Returns what nothing needs, and removes it when asked to.

        Args:
            older_than: Seconds; what changed since is left alone.
            delete: Remove it.
            answers_older_than: Seconds; language-model answers older than this count as garbage. None keeps them.
        """
        now = time.time()
        objects = await asyncio.to_thread(self._list, PREFIXES)
        groups = by_job(objects)
        jobs = await self._index.refresh()
        listed = await asyncio.to_thread(self._listed_keys, [id_ for id_, of in groups.items() if is_committed(of)])
        found = list(find_garbage(groups, jobs, listed, now - older_than))
        if answers_older_than is not None:
            answers = await asyncio.to_thread(self._list, ("llm-cache/",))
            old = [item for item in answers if item.modified < now - answers_older_than]
            found += [Garbage(ANSWERS, "", old)] if old else []
        if delete:
            for garbage in found:
                await self._remove(garbage)
        return found

    def _list(self, prefixes: Sequence[str]) -> list[Listed]:
        return [item for prefix in prefixes for item in self._store.objects.list(prefix)]

    def _listed_keys(self, job_ids: Sequence[str]) -> Mapping[str, frozenset[str]]:
        found: dict[str, frozenset[str]] = {}
        for job_id in job_ids:
            manifest = self._manifest(job_id)
            if manifest is not None:
                found[job_id] = frozenset({manifest_key(job_id), *(part.key for part in manifest.parts)})
        return found

    def _manifest(self, job_id: str) -> Manifest | None:
        """Returns a manifest; None where none can be read: that artifact is left as it is, and told of."""
        try:
            return self._store.manifest(job_id)
        except (DataLoss, FailedPrecondition) as error:
            _LOG.error("the manifest of %s cannot be read and is left alone: %s", job_id, error)
            return None

    async def _remove(self, garbage: Garbage) -> None:
        if garbage.job_id:
            job = await self._ledger.find(garbage.job_id)
            if job is not None and not job.state.terminal:
                return  # retried meanwhile
            await asyncio.to_thread(self._store.objects.abort_uploads, artifact_prefix(garbage.job_id))
        # Receipts first: a task without one is done again, one whose parts are gone could not be.
        keys = sorted((item.key for item in garbage.objects), key=lambda key: not key.startswith("receipts/"))
        await asyncio.to_thread(self._store.objects.delete, keys)

    # --------------------------------------------------------------- artifacts

    async def delete_artifact(self, artifact_id: str, force: bool) -> int:
        """Removes an artifact and its job's record; returns how many objects went.

        Raises:
            NotFound: There is neither an artifact nor a job of this id.
            FailedPrecondition: Its job, or one that needs it, is open; or a committed artifact was made from it and
                `force` is false.
        """
        jobs = await self._index.refresh()
        size = await asyncio.to_thread(self._store.objects.size, manifest_key(artifact_id))
        job = jobs.get(artifact_id)
        if size is None and job is None:
            raise NotFound(f"there is no artifact and no job {artifact_id}", reason="UNKNOWN_ARTIFACT")
        _check_free(artifact_id, job, jobs, force)
        count = await asyncio.to_thread(self._delete_objects, artifact_id)
        await self._ledger.remove(artifact_id)
        return count

    def _delete_objects(self, artifact_id: str) -> int:
        """Manifest first: from then on there is no artifact, whenever this is interrupted."""
        objects = self._store.objects
        there = objects.size(manifest_key(artifact_id)) is not None
        objects.delete([manifest_key(artifact_id)])
        prefixes = (artifact_prefix(artifact_id), *(f"{prefix}{artifact_id}/" for prefix in PREFIXES[1:]))
        return there + sum(self._store.delete_under(prefix) for prefix in prefixes)

    # -------------------------------------------------------------------- jobs

    async def rebuild_jobs(self) -> Rebuilt:
        """Makes a SUCCEEDED record for each committed artifact that no record tells of."""
        jobs = await self._index.refresh()
        groups = by_job(await asyncio.to_thread(self._list, PREFIXES[:1]))
        committed = [job_id for job_id, objects in groups.items() if is_committed(objects)]
        made: list[str] = []
        for job_id in committed:
            if job_id in jobs:
                continue
            manifest = await asyncio.to_thread(self._manifest, job_id)
            if manifest is not None and await self._ledger.create(_record_of(manifest)) is not None:
                made.append(job_id)
        return Rebuilt(made, len(committed))


def _check_free(artifact_id: str, job: JobRecord | None, jobs: Mapping[str, JobRecord], force: bool) -> None:
    if job is not None and not job.state.terminal:
        raise FailedPrecondition(f"{artifact_id} is {job.state}; cancel it first", reason="JOB_OPEN")
    needing = [other for other in jobs.values() if artifact_id in other.inputs.values()]
    open_ = [other.id for other in needing if not other.state.terminal]
    if open_:
        raise FailedPrecondition(
            f"{_named(open_)} needs {artifact_id} and is not done; cancel it first", reason="IN_USE"
        )
    made = [other.id for other in needing if other.state is JobState.SUCCEEDED]
    if made and not force:
        raise FailedPrecondition(
            f"{_named(made)} was made from {artifact_id}; delete that first, or force it: it then cannot be read in "
            "full or be made again",
            reason="IN_USE",
        )


def _named(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_NAMED]) + (f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else "")


def _record_of(manifest: Manifest) -> JobRecord:
    submit = SUBMITS.get(manifest.kind)
    committed = datetime.fromisoformat(manifest.commit_time).timestamp() if manifest.commit_time else 0.0
    return JobRecord(
        manifest.id,
        manifest.kind,
        submit.service if submit else "",
        JobState.SUCCEEDED,
        manifest.spec,
        manifest.inputs,
        failed_count=manifest.failed_count,
        create_time=committed,
        end_time=committed,
        namespace=manifest.namespace,
        stored_bytes=manifest.size_bytes,
    )
