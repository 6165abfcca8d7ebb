"""The desk: what a server asks of the job system. Implemented by `dragoman.jobdesk` over NATS."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from dragoman.ids import Json
from dragoman.joblog import LogPage
from dragoman.jobs import DeadLetter, JobEvent, JobRecord, JobState


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list; empty means all."""

    kinds: Sequence[str] = ()
    states: Sequence[JobState] = ()
    created_after: float = 0.0


@dataclass(frozen=True, slots=True)
class JobPage:
    """One page of jobs, newest first."""

    jobs: Sequence[JobRecord]
    next_page_token: str
    total_count: int


class Desk(Protocol):
    """Every method raises the typed errors of `dragoman.errors`."""

    async def submit(self, kind: str, spec: Mapping[str, Json], request_id: str = "") -> tuple[JobRecord, bool]:
        """Validates, resolves and records a job of a kind of this server. True when it is new."""
        ...

    async def check(self, kind: str, spec: Mapping[str, Json]) -> None:
        """Raises what `submit` would raise for this spec, and records nothing."""
        ...

    async def get(self, job_id: str) -> JobRecord: ...

    async def list(self, filter: JobFilter, page_size: int, page_token: str) -> JobPage: ...

    def watch(self, job_ids: Sequence[str], cursor: int, follow: bool) -> AsyncIterator[JobEvent]: ...

    async def wait(self, job_id: str, timeout: float) -> JobRecord: ...

    async def cancel(self, job_id: str) -> JobRecord: ...

    async def retry(self, job_id: str) -> JobRecord: ...

    async def log_lines(self, job_id: str, task_id: str, page_size: int, page_token: str) -> LogPage: ...

    async def dead_letters(self, job_id: str, page_size: int) -> Sequence[DeadLetter]: ...
