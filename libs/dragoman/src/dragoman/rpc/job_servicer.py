"""JobService: checks what a request may ask, asks the desk, converts the answer."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Any, TypeVar

import grpc.aio

from dragoman.desk import Desk, JobFilter
from dragoman.errors import InvalidSpec, Unavailable
from dragoman.ids import kind_of
from dragoman.job.v1 import job_service_pb2 as pb
from dragoman.job.v1 import job_service_pb2_grpc
from dragoman.jobs import EventType, JobEvent, JobState
from dragoman.rpc.convert import (
    dead_letter_message,
    event_message,
    job_message,
    log_line_message,
    seconds,
    state_record,
    struct_dict,
)
from dragoman.rpc.info import (
    DEFAULT_PAGE_SIZE,
    MAX_MESSAGE_BYTES,
    MAX_PAGE_SIZE,
    MAX_REQUEST_ID,
    MAX_SPEC_BYTES,
    MAX_WATCHED,
    ServerInfo,
)
from dragoman.rpc.interceptors import Context

T = TypeVar("T")

DEFAULT_WAIT = 60.0
MAX_WAIT = 600.0
MAX_PAGE_BYTES = MAX_MESSAGE_BYTES * 3 // 4


class JobServicer(job_service_pb2_grpc.JobServiceServicer):
    """dragoman.job.v1.JobService over a desk.

    Args:
        desk: The job system.
        info: What GetServerInfo answers.
        heartbeat: Seconds of silence after which a watch gets a heartbeat.
    """

    def __init__(self, desk: Desk, info: ServerInfo, *, heartbeat: float = 15.0) -> None:
        self._desk = desk
        self._info = info
        self._heartbeat = heartbeat
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Ends long calls at once with UNAVAILABLE, so that clients go on elsewhere from their cursor."""
        self._stopping.set()

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.GetJobResponse:
        """Returns one job."""
        return pb.GetJobResponse(job=job_message(await self._desk.get(_job_id(request.job_id))))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        """Returns a page of jobs, newest first."""
        states = [_state(i, number) for i, number in enumerate(request.states)]
        wanted = JobFilter(tuple(request.kinds), states, seconds(request.created_after_time))
        size = _page_size(request.page_size)
        while True:
            page = await self._desk.list(wanted, size, request.page_token)
            answer = pb.ListJobsResponse(
                jobs=[job_message(job) for job in page.jobs],
                next_page_token=page.next_page_token,
                total_count=page.total_count,
            )
            if answer.ByteSize() <= MAX_PAGE_BYTES or size == 1:
                return answer
            size = (size + 1) // 2  # large specs: a shorter page, so that the client's limit is not met

    async def WatchJobs(self, request: pb.WatchJobsRequest, context: Context) -> AsyncGenerator[pb.WatchJobsResponse]:
        """Streams events after the cursor, with a heartbeat while nothing happens."""
        ids = _watched(request)
        cursor = request.cursor
        events = self._desk.watch(ids, cursor, request.follow)
        async with aclosing(_with_silences(events, self._heartbeat, self._stopping)) as stream:
            async for event in stream:
                event = event or _heartbeat(cursor)
                cursor = max(cursor, event.cursor)
                yield pb.WatchJobsResponse(event=event_message(event))

    async def WaitJob(self, request: pb.WaitJobRequest, context: Context) -> pb.WaitJobResponse:
        """Returns the job once it is terminal, or as it is when the timeout has passed."""
        timeout = request.timeout.ToTimedelta().total_seconds() if request.HasField("timeout") else DEFAULT_WAIT
        if not 0 <= timeout <= MAX_WAIT:
            raise InvalidSpec(f"{timeout:g} s is out of range; expected 0 to {MAX_WAIT:g} s", field="timeout")
        job = await self._unless_stopping(self._desk.wait(_job_id(request.job_id), timeout))
        return pb.WaitJobResponse(job=job_message(job))

    async def CancelJob(self, request: pb.CancelJobRequest, context: Context) -> pb.CancelJobResponse:
        """Asks for cancellation."""
        return pb.CancelJobResponse(job=job_message(await self._desk.cancel(_job_id(request.job_id))))

    async def RetryJob(self, request: pb.RetryJobRequest, context: Context) -> pb.RetryJobResponse:
        """Queues a failed or cancelled job again."""
        return pb.RetryJobResponse(job=job_message(await self._desk.retry(_job_id(request.job_id))))

    async def ListDeadLetters(self, request: pb.ListDeadLettersRequest, context: Context) -> pb.ListDeadLettersResponse:
        """Returns tasks that were given up, newest first."""
        job_id = _job_id(request.job_id) if request.job_id else ""
        letters = await self._desk.dead_letters(job_id, _page_size(request.page_size))
        return pb.ListDeadLettersResponse(dead_letters=[dead_letter_message(letter) for letter in letters])

    async def ListLogLines(self, request: pb.ListLogLinesRequest, context: Context) -> pb.ListLogLinesResponse:
        """Returns a page of what a job's tasks logged."""
        job_id, size = _job_id(request.job_id), _page_size(request.page_size)
        page = await self._desk.log_lines(job_id, _task_id(request.task_id), size, request.page_token)
        lines = [log_line_message(line) for line in page.lines]
        return pb.ListLogLinesResponse(lines=lines, next_page_token=page.next_page_token)

    async def SubmitJob(self, request: pb.SubmitJobRequest, context: Context) -> pb.SubmitJobResponse:
        """Submits a job of any kind of this server from a JSON spec."""
        if not request.kind:
            raise InvalidSpec("is required: a kind of this server, as GetServerInfo lists them", field="kind")
        if request.spec.ByteSize() > MAX_SPEC_BYTES:
            raise InvalidSpec(f"is {request.spec.ByteSize():,} bytes; at most {MAX_SPEC_BYTES:,}", field="spec")
        request_id = checked_request_id(request.request_id)
        job, created = await self._desk.submit(request.kind, struct_dict(request.spec), request_id)
        return pb.SubmitJobResponse(job=job_message(job), created=created)

    async def GetServerInfo(self, request: pb.GetServerInfoRequest, context: Context) -> pb.GetServerInfoResponse:
        """Says what this server is and can do."""
        return await asyncio.to_thread(self._info.message)

    async def _unless_stopping(self, work: Awaitable[T]) -> T:
        """Waits for some work, but not for longer than the server lives."""
        task, stop = asyncio.ensure_future(work), asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise _going_down()
            return await task
        finally:
            task.cancel()
            stop.cancel()


async def _with_silences(
    events: AsyncIterator[JobEvent], silence: float, stopping: asyncio.Event
) -> AsyncGenerator[JobEvent | None]:
    """Passes events on, with None after each `silence` seconds without one. Raises Unavailable when stopping."""
    stop = asyncio.ensure_future(stopping.wait())
    pending: asyncio.Future[JobEvent] | None = None
    try:
        while not stop.done():
            pending = pending or asyncio.ensure_future(anext(events))
            await asyncio.wait({pending, stop}, timeout=silence, return_when=asyncio.FIRST_COMPLETED)
            if pending.done():
                try:
                    event = pending.result()
                except StopAsyncIteration:
                    return
                pending = None
                yield event
            elif not stop.done():
                yield None
        raise _going_down()
    finally:
        stop.cancel()
        await _abandon(pending, events)


async def _abandon(pending: "asyncio.Future[JobEvent] | None", events: AsyncIterator[JobEvent]) -> None:
    """Closes an event iterator, even in the middle of a step."""
    if pending is not None:
        pending.cancel()
        await asyncio.gather(pending, return_exceptions=True)
    close: Any = getattr(events, "aclose", None)
    if close is not None:
        await close()


def _heartbeat(cursor: int) -> JobEvent:
    return JobEvent(
        job_id="", kind="", type=EventType.HEARTBEAT, state=JobState.WAITING, time=time.time(), cursor=cursor
    )


def _going_down() -> Unavailable:
    return Unavailable("the server is going down; connect again and go on from the last cursor", reason="SHUTTING_DOWN")


def checked_request_id(request_id: str) -> str:
    """Returns a request id. Raises InvalidSpec when it is too long."""
    if len(request_id) > MAX_REQUEST_ID:
        raise InvalidSpec(f"is {len(request_id)} characters long; at most {MAX_REQUEST_ID}", field="request_id")
    return request_id


def _job_id(job_id: str, field: str = "job_id") -> str:
    if not job_id:
        raise InvalidSpec("is required: <kind>-<32 hex digits>, as `dragoman jobs` prints it", field=field)
    kind_of(job_id, field=field)
    return job_id


def _task_id(task_id: str) -> str:
    if task_id and not re.fullmatch(r"\d{1,6}-\d{1,6}", task_id):
        raise InvalidSpec(f"{task_id!r} is not a task; expected <stage>-<index>, for example 0-17", field="task_id")
    return task_id


def _watched(request: pb.WatchJobsRequest) -> list[str]:
    if len(request.job_ids) > MAX_WATCHED:
        raise InvalidSpec(f"{len(request.job_ids)} jobs; at most {MAX_WATCHED} in one watch", field="job_ids")
    if request.cursor < 0:
        raise InvalidSpec(f"{request.cursor} is below 0; give the cursor of the last event seen, or 0", field="cursor")
    return [_job_id(job_id, f"job_ids[{i}]") for i, job_id in enumerate(request.job_ids)]


def _page_size(asked: int) -> int:
    if not 0 <= asked <= MAX_PAGE_SIZE:
        raise InvalidSpec(
            f"{asked} is out of range; expected 1 to {MAX_PAGE_SIZE}, or 0 for the default", field="page_size"
        )
    return asked or DEFAULT_PAGE_SIZE


def _state(position: int, number: int) -> JobState:
    names = [state.name for state in JobState]
    if not 1 <= number <= len(names):
        raise InvalidSpec(f"{number} is not a state; the states are {', '.join(names)}", field=f"states[{position}]")
    return state_record(number)


def mount(server: grpc.aio.Server, servicer: JobServicer) -> str:
    """Adds the servicer and returns the service's full name."""
    generated: Any = job_service_pb2_grpc
    generated.add_JobServiceServicer_to_server(servicer, server)
    return pb.DESCRIPTOR.services_by_name["JobService"].full_name
