"""What a caller may know of, and change: its own namespace's jobs and, to read, those that everybody shares."""

from dragoman.errors import PermissionDenied
from dragoman.ids import kind_of
from dragoman.jobindex import JobIndex
from dragoman.jobs import JobRecord
from dragoman.ledger import Ledger, unknown_job
from dragoman.principals import CALLER, Role


class JobAccess:
    """Answers for whoever calls now."""

    def __init__(self, ledger: Ledger, index: JobIndex) -> None:
        self._ledger = ledger
        self._index = index

    async def visible(self, job_id: str) -> JobRecord:
        """Returns a job that the caller may know of. Raises NotFound, in the words for a job that there is not."""
        kind_of(job_id, field="job_id")
        record = await self._ledger.get(job_id)
        if not CALLER.get().sees(record.namespace):
            raise unknown_job(job_id)
        return record

    async def check_changeable(self, job_id: str) -> None:
        """The same for a job that the caller wants to change. Raises PermissionDenied for one that it may only read."""
        record, caller = await self.visible(job_id), CALLER.get()
        if not caller.owns(record.namespace):
            raise PermissionDenied(f"{job_id} is shared by everybody; {caller.name} may read it, and change its own")

    async def may_know(self, job_id: str) -> bool:
        """True for a job that the caller may know of, as the index has it; of jobs that are gone an admin may."""
        caller = CALLER.get()
        if caller.role is Role.ADMIN:
            return True
        record = await self._index.find(job_id)
        return record is not None and caller.sees(record.namespace)
