"""A desk and a store in memory, for tests of the transport only: jobs never run, artifacts are put by hand."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dragoman.artifacts import Manifest, PartInfo
from dragoman.desk import JobFilter, JobPage
from dragoman.errors import FailureClass, NotFound
from dragoman.ids import artifact_id
from dragoman.joblog import LogPage
from dragoman.jobs import DeadLetter, EventType, Failure, JobEvent, JobRecord, JobState, LogLine


class MemoryDesk:
    """Jobs in a dictionary and events in a list."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobRecord] = {}
        self.events: list[JobEvent] = []
        self.news = asyncio.Condition()
        self.error: Exception | None = None

    async def submit(self, kind: str, spec: Mapping[str, Any], request_id: str = "") -> tuple[JobRecord, bool]:
        if self.error is not None:
            raise self.error
        id_ = artifact_id(kind, 1, spec)
        if id_ in self.jobs:
            return self.jobs[id_], False
        self.jobs[id_] = JobRecord(id_, kind, "test", JobState.QUEUED, spec, {}, create_time=time.time())
        await self.tell(id_, EventType.CREATED)
        return self.jobs[id_], True

    async def check(self, kind: str, spec: Mapping[str, Any]) -> None:
        if self.error is not None:
            raise self.error

    async def tell(self, id_: str, type_: EventType, state: JobState | None = None) -> None:
        async with self.news:
            job = self.jobs[id_] = replace(self.jobs[id_], state=state or self.jobs[id_].state)
            self.events.append(JobEvent(id_, job.kind, type_, job.state, time.time(), len(self.events) + 1))
            self.news.notify_all()

    async def get(self, job_id: str) -> JobRecord:
        if job_id not in self.jobs:
            raise NotFound(f"no job {job_id}")
        return self.jobs[job_id]

    async def list(self, filter: JobFilter, page_size: int, page_token: str) -> JobPage:
        found = [
            job
            for job in reversed(self.jobs.values())
            if (not filter.kinds or job.kind in filter.kinds) and (not filter.states or job.state in filter.states)
        ]
        start_ = int(page_token or 0)
        end = start_ + page_size
        return JobPage(found[start_:end], str(end) if end < len(found) else "", len(found))

    async def watch(self, job_ids: Sequence[str], cursor: int, follow: bool) -> AsyncIterator[JobEvent]:
        while True:
            for event in self.events[cursor:]:
                cursor = event.cursor
                if not job_ids or event.job_id in job_ids:
                    yield event
            if not follow and all(self.jobs[id_].state.terminal for id_ in job_ids or self.jobs):
                return
            async with self.news:
                if len(self.events) == cursor:
                    await self.news.wait()

    async def wait(self, job_id: str, timeout: float) -> JobRecord:
        async with self.news:
            terminal = self.news.wait_for(lambda: self.jobs[job_id].state.terminal)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(terminal, timeout)
        return self.jobs[job_id]

    async def cancel(self, job_id: str) -> JobRecord:
        await self.get(job_id)
        await self.tell(job_id, EventType.CANCELLED, JobState.CANCELLED)
        return self.jobs[job_id]

    async def retry(self, job_id: str) -> JobRecord:
        await self.tell(job_id, EventType.RETRIED, JobState.QUEUED)
        return self.jobs[job_id]

    async def log_lines(self, job_id: str, task_id: str, page_size: int, page_token: str) -> LogPage:
        await self.get(job_id)
        return LogPage([LogLine(1.0, "INFO", task_id or "0-0", 1, "test", "said")], "")

    async def dead_letters(self, job_id: str, page_size: int) -> Sequence[DeadLetter]:
        failure = Failure("TASK_CRASHED", "out of memory", FailureClass.SYSTEM, "0-3", 3)
        return [DeadLetter(id_, "0-3", failure, 1.0) for id_ in self.jobs if job_id in ("", id_)][:page_size]


class MemoryArtifact:
    def __init__(self, manifest: Manifest, data: bytes) -> None:
        self.manifest, self.data, self.reads = manifest, data, list[tuple[int, int]]()

    @property
    def id(self) -> str:
        return self.manifest.id

    def names(self) -> Sequence[str]:
        return [part.name for part in self.manifest.parts]

    def read(self, name: str) -> bytes:
        return self.data

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return self.data[offset : offset + length]

    def download(self, name: str) -> Path:
        raise NotImplementedError


class MemoryStore:
    def __init__(self) -> None:
        self.artifacts: dict[str, MemoryArtifact] = {}

    def put(
        self,
        kind: str,
        data: bytes,
        inputs: Mapping[str, str] | None = None,
        name: str = "part.bin",
        cost: Mapping[str, float] | None = None,
    ) -> MemoryArtifact:
        part = PartInfo(name, f"k/{kind}", len(data), hashlib.sha256(data).hexdigest())
        spec = {"n": len(data), **(inputs or {})}
        told = {"byte_count": len(data)}
        id_ = artifact_id(kind, 1, spec)
        manifest = Manifest(id_, kind, 1, spec, inputs or {}, [part], told, cost=cost or {})
        self.artifacts[manifest.id] = MemoryArtifact(manifest, data)
        return self.artifacts[manifest.id]

    def manifest(self, artifact_id: str, /) -> Manifest | None:
        found = self.artifacts.get(artifact_id)
        return found.manifest if found else None

    def artifact(self, artifact_id: str, /) -> MemoryArtifact:
        return self.artifacts[artifact_id]
