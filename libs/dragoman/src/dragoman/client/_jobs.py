"""Jobs: one, many, their events, their end, what they logged, and changing them."""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from google.protobuf.duration_pb2 import Duration

from dragoman.client._caller import Caller
from dragoman.client._wire import Patience
from dragoman.errors import DragomanError
from dragoman.job.v1 import job_service_pb2 as pb
from dragoman.jobs import DeadLetter, EventType, JobEvent, JobRecord, JobState, LogLine
from dragoman.rpc.convert import (
    dead_letter_record,
    event_record,
    job_record,
    log_line_record,
    state_message,
    timestamp,
)
from dragoman.rpc.info import MAX_PAGE_SIZE
from dragoman.rpc.methods import (
    CANCEL_JOB,
    GET_JOB,
    LIST_DEAD_LETTERS,
    LIST_JOBS,
    LIST_LOG_LINES,
    RETRY_JOB,
    WAIT_JOB,
    WATCH_JOBS,
)

_PAGE = 100
_WAIT_SLICE = 60.0
_WATCH_SILENCE = 60.0
"""Servers send a heartbeat every 15 seconds; a watch that is quiet for longer than this has lost its server."""


class Jobs(Caller):
    """The verbs about jobs that are there."""

    async def get(self, job_id: str) -> JobRecord:
        """Returns a job. Raises NotFound."""
        request = pb.GetJobRequest(job_id=job_id)
        return job_record((await self._wire.call(GET_JOB, request, self._wire.anywhere())).job)

    async def list(
        self,
        kinds: Sequence[str] = (),
        states: Sequence[JobState] = (),
        *,
        created_after: float = 0.0,
        limit: int = 100,
    ) -> Sequence[JobRecord]:
        """Returns jobs, newest first; 0 as limit means all. `created_after` is in seconds since the epoch."""
        request = pb.ListJobsRequest(
            kinds=kinds,
            states=[state_message(state) for state in states],
            created_after_time=timestamp(created_after),
        )
        jobs: list[JobRecord] = []
        while True:
            request.page_size = min(_PAGE, limit - len(jobs)) if limit else _PAGE
            page = await self._wire.call(LIST_JOBS, request, self._wire.anywhere())
            jobs.extend(job_record(job) for job in page.jobs)
            request.page_token = page.next_page_token
            if not page.next_page_token or (limit and len(jobs) >= limit):
                return jobs

    async def watch(
        self, job_ids: Sequence[str] = (), *, cursor: int = 0, follow: bool = False
    ) -> AsyncGenerator[JobEvent]:
        """Yields events after a cursor, in order, each once; goes on by itself after a lost connection.

        Ends when every watched job is terminal, unless `follow`. Without ids it watches all jobs. Heartbeats of quiet
        times are passed on, so that a caller can do something then.
        """
        patience = Patience(self._wire.patience)
        while True:
            request = pb.WatchJobsRequest(job_ids=job_ids, cursor=cursor, follow=follow)
            stream = self._wire.stream(WATCH_JOBS, request, self._wire.anywhere()[0], _WATCH_SILENCE)
            try:
                async with aclosing(stream):
                    async for answer in stream:
                        patience.progressed()
                        event = event_record(answer.event)
                        if event.cursor > cursor or event.type is EventType.HEARTBEAT:
                            cursor = max(cursor, event.cursor)
                            yield event
                return
            except DragomanError as error:
                await patience.after(error)

    async def wait(self, job_id: str, timeout: float | None = None) -> JobRecord:
        """Returns the job once it is terminal, or as it is after `timeout` seconds; None waits for ever."""
        end = None if timeout is None else time.monotonic() + timeout
        patience = Patience(self._wire.patience)
        while True:
            left = _WAIT_SLICE if end is None else min(_WAIT_SLICE, max(0.0, end - time.monotonic()))
            request = pb.WaitJobRequest(job_id=job_id, timeout=Duration(nanos=int(left % 1 * 1e9), seconds=int(left)))
            try:
                answer = await self._wire.call(WAIT_JOB, request, self._wire.anywhere(), left + self._wire.timeout)
            except DragomanError as error:
                await patience.after(error)
                continue
            patience.progressed()
            job = job_record(answer.job)
            if job.state.terminal or (end is not None and time.monotonic() >= end):
                return job

    async def cancel(self, job_id: str) -> JobRecord:
        """Asks for cancellation; the job is CANCELLED once its workers have confirmed."""
        request = pb.CancelJobRequest(job_id=job_id)
        return job_record((await self._wire.call(CANCEL_JOB, request, self._wire.anywhere())).job)

    async def retry(self, job_id: str) -> JobRecord:
        """Queues a failed or cancelled job again; what is done stays done."""
        await self.get(job_id)  # finds a server that answers: the next call is not repeated
        request = pb.RetryJobRequest(job_id=job_id)
        return job_record((await self._wire.call(RETRY_JOB, request, self._wire.anywhere()[0])).job)

    async def log_lines(self, job_id: str, task_id: str = "") -> AsyncGenerator[LogLine]:
        """Yields what a job's tasks logged, or one of them, by task and attempt; of a running one some seconds late.

        Raises:
            NotFound: There is no such job.
        """
        request = pb.ListLogLinesRequest(job_id=job_id, task_id=task_id, page_size=MAX_PAGE_SIZE)
        while True:
            answer = await self._wire.call(LIST_LOG_LINES, request, self._wire.anywhere())
            for line in answer.lines:
                yield log_line_record(line)
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    async def dead_letters(self, job_id: str = "", limit: int = 50) -> Sequence[DeadLetter]:
        """Returns tasks that were given up, newest first, of one job or of all."""
        request = pb.ListDeadLettersRequest(job_id=job_id, page_size=min(limit, MAX_PAGE_SIZE))
        answer = await self._wire.call(LIST_DEAD_LETTERS, request, self._wire.anywhere())
        return [dead_letter_record(letter) for letter in answer.dead_letters]
