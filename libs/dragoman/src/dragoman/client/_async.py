"""The client, as coroutines."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Self

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from dragoman import __version__
from dragoman.artifact.v1 import artifact_pb2
from dragoman.artifacts import Manifest
from dragoman.client._addresses import Addresses
from dragoman.client._download import Report, download
from dragoman.client._records import GarbageLine, LineageNode, ServerInfo, lineage_node, server_info
from dragoman.client._wire import Patience, Wire
from dragoman.errors import DragomanError, FailedPrecondition, InvalidSpec, Violation
from dragoman.job.v1 import job_service_pb2 as pb
from dragoman.job.v1 import maintenance_service_pb2
from dragoman.jobs import DeadLetter, EventType, JobEvent, JobRecord, JobState, LogLine
from dragoman.pipeline import Pipeline, PipelineJob
from dragoman.rpc.convert import (
    dead_letter_record,
    event_record,
    job_record,
    log_line_record,
    manifest_record,
    spec_message,
    state_message,
    timestamp,
)
from dragoman.rpc.info import API_VERSION, MAX_PAGE_SIZE
from dragoman.rpc.methods import (
    CANCEL_JOB,
    COLLECT_GARBAGE,
    DELETE_ARTIFACT,
    GET_JOB,
    GET_LINEAGE,
    GET_MANIFEST,
    GET_SERVER_INFO,
    LIST_DEAD_LETTERS,
    LIST_JOBS,
    LIST_LOG_LINES,
    REBUILD_JOBS,
    RETRY_JOB,
    SWEEP,
    WAIT_JOB,
    WATCH_JOBS,
    submit_of,
)

_PAGE = 100
_WAIT_SLICE = 60.0
_SWEEP_TIMEOUT = 600.0
"""Seconds: up to a thousand specs are checked, then submitted."""
_MAINTENANCE_TIMEOUT = 3600.0
"""Seconds: millions of objects are listed by the thousand."""
_WATCH_SILENCE = 60.0
"""Servers send a heartbeat every 15 seconds; a watch that is quiet for longer than this has lost its server."""


class AsyncClient:
    """Talks to the services. Use it as `async with AsyncClient() as client:`, in one event loop.

    Args:
        addresses: Service to host:port, or an Addresses with token and TLS. Default: environment variables
            DRAGOMAN_ACTIVATION_ADDRESS and its like, else the stack of `home`.
        home: The laptop stack's folder. Default: DRAGOMAN_HOME, else ~/.dragoman.
        timeout: Seconds for one attempt of one call.
        patience: Seconds for which a server that went away is tried again.

    Raises:
        Unavailable: No addresses were given and no stack is running.
    """

    def __init__(
        self,
        addresses: Mapping[str, str] | Addresses | None = None,
        *,
        home: Path | None = None,
        timeout: float = 60.0,
        patience: float = 30.0,
    ) -> None:
        if addresses is None:
            addresses = Addresses.find(os.environ, home)
        elif not isinstance(addresses, Addresses):
            addresses = Addresses(addresses)
        self.addresses = addresses
        self._wire = Wire(addresses, timeout, patience)
        self._checked: set[str] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._wire.close()

    # ------------------------------------------------------------------ submit

    async def submit(self, kind: str, spec: Mapping[str, Any] | Message, request_id: str = "") -> JobRecord:
        """Submits a job and returns it; when it is known already, or done, returns that one.

        Args:
            kind: Kind of job, for example "latents".
            spec: Its spec, as plain Python or as the typed message.
            request_id: A second submission with this id must be of the same spec.

        Raises:
            InvalidSpec: A field is wrong; all of them are listed.
            AlreadyExists: The request id came with another spec before.
        """
        how = submit_of(kind)
        message = spec if isinstance(spec, Message) else spec_message(spec, how.spec)
        if not isinstance(message, how.spec):
            wanted, got = how.spec.DESCRIPTOR.name, message.DESCRIPTOR.name
            raise InvalidSpec(f"a job of kind {kind!r} takes a {wanted}, not a {got}", field="spec")
        address = self.addresses.one(how.service)
        await self._check_version(address)
        request = how.method.request(spec=message, request_id=request_id)
        return job_record((await self._wire.call(how.method, request, address)).job)

    async def submit_sweep(self, spec: Mapping[str, Any] | Message, request_id: str = "") -> dict[str, JobRecord]:
        """Submits a coder for each combination of a sweep. Returns label to job, for example "architecture=topk k=32".

        Args:
            spec: A SweepSpec, as plain Python or as the typed message.
            request_id: Each coder is submitted with it, "." and its number.

        Raises:
            InvalidSpec: A combination cannot be trained; then none is submitted.
        """
        message = spec if isinstance(spec, Message) else spec_message(spec, SWEEP.spec)
        address = self.addresses.one(SWEEP.service)
        await self._check_version(address)
        request = SWEEP.method.request(spec=message, request_id=request_id)
        answer = await self._wire.call(SWEEP.method, request, address, _SWEEP_TIMEOUT)
        return {coder.label: job_record(coder.job) for coder in answer.coders}

    async def submit_pipeline(
        self, pipeline: Pipeline, report: Callable[[str], object] | None = None
    ) -> dict[str, JobRecord]:
        """Submits every job of a pipeline, each after those it needs. Returns name to job.

        Of a sweep each coder is a job of its own, named "<name>[<label>]".

        Args:
            pipeline: What `dragoman.pipeline.load` or `parse` returned.
            report: Called with each job's name before it is submitted.

        Raises:
            InvalidSpec: As `submit`, with the job's name before the field. Jobs before it stay submitted; submitting
                the mended pipeline again finds them.
        """
        jobs: dict[str, JobRecord] = {}
        ids: dict[str, str | Sequence[str]] = {}
        for name, step in pipeline.jobs.items():
            if report is not None:
                report(name)
            try:
                made = await self._submitted(step, ids)
            except InvalidSpec as error:
                raise _in_pipeline(error, name, pipeline) from error
            except DragomanError as error:
                raise type(error)(f"job {name!r}: {error.message}", reason=error.reason) from error
            ids[name] = made[name].id if name in made else [job.id for job in made.values()]
            jobs |= made
        return jobs

    async def _submitted(self, step: PipelineJob, ids: Mapping[str, str | Sequence[str]]) -> dict[str, JobRecord]:
        if step.kind == SWEEP.kind:
            swept = await self.submit_sweep(step.render(ids), step.request_id)
            return {f"{step.name}[{label}]": job for label, job in swept.items()}
        return {step.name: await self.submit(step.kind, step.render(ids), step.request_id)}

    async def _check_version(self, address: str) -> None:
        """Asks a server, once, whether it speaks our version of the API."""
        if address in self._checked:
            return
        info = await self._info(address)
        if info.api_version != API_VERSION:
            raise FailedPrecondition(
                f"the {info.service} server at {address} is version {info.version} and speaks API "
                f"{info.api_version!r}, "
                f"this client is version {__version__} and speaks API {API_VERSION!r}; "
                "install the same version on both sides",
                reason="VERSION_SKEW",
            )
        self._checked.add(address)

    # -------------------------------------------------------------------- read

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

    # ------------------------------------------------------------------ change

    async def cancel(self, job_id: str) -> JobRecord:
        """Asks for cancellation; the job is CANCELLED once its workers have confirmed."""
        request = pb.CancelJobRequest(job_id=job_id)
        return job_record((await self._wire.call(CANCEL_JOB, request, self._wire.anywhere())).job)

    async def retry(self, job_id: str) -> JobRecord:
        """Queues a failed or cancelled job again; what is done stays done."""
        await self.get(job_id)  # finds a server that answers: the next call is not repeated
        request = pb.RetryJobRequest(job_id=job_id)
        return job_record((await self._wire.call(RETRY_JOB, request, self._wire.anywhere()[0])).job)

    # --------------------------------------------------------------- artifacts

    async def manifest(self, artifact_id: str) -> Manifest:
        """Returns the manifest of a committed artifact. Raises NotFound, saying how its job stands."""
        request = artifact_pb2.GetManifestRequest(artifact_id=artifact_id)
        return manifest_record((await self._wire.call(GET_MANIFEST, request, self._wire.anywhere())).manifest)

    async def download(self, artifact_id: str, folder: Path | str, report: Report | None = None) -> Path:
        """Fetches an artifact into `<folder>/<artifact_id>` and returns that folder; see `dragoman.folder`.

        What is there already is kept, a broken download goes on where it stopped, every part is checked against its
        sha256, and manifest.json is written last.

        Args:
            artifact_id: A committed artifact.
            folder: Where to put the artifact's folder.
            report: Called with the part's name, and the bytes done and in all.
        """
        return await download(self._wire, await self.manifest(artifact_id), Path(folder), report)

    async def lineage(self, artifact_id: str) -> Sequence[LineageNode]:
        """Returns the artifact and everything it was made from, breadth first."""
        request = artifact_pb2.GetLineageRequest(artifact_id=artifact_id)
        answer = await self._wire.call(GET_LINEAGE, request, self._wire.anywhere())
        return [lineage_node(node) for node in answer.nodes]

    # ----------------------------------------------------------------- servers

    async def server_info(self) -> Mapping[str, ServerInfo | DragomanError]:
        """Returns what each known server says of itself, or why it does not."""

        async def ask(address: str) -> ServerInfo | DragomanError:
            try:
                return await self._info(address, patient=False)
            except DragomanError as error:
                return error

        answers = await asyncio.gather(*(ask(address) for address in self.addresses.of.values()))
        return dict(zip(self.addresses.of, answers, strict=True))

    async def _info(self, address: str, *, patient: bool = True) -> ServerInfo:
        answer = await self._wire.call(GET_SERVER_INFO, pb.GetServerInfoRequest(), address, patient=patient)
        return server_info(answer, address)

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

    # ------------------------------------------------------------- maintenance

    async def collect_garbage(
        self, older_than: float = 7 * 86_400.0, delete: bool = False, answers_older_than: float | None = None
    ) -> Sequence[GarbageLine]:
        """Returns what nothing needs any more, by reason, and removes it with `delete`.

        Args:
            older_than: Seconds; what changed since is left alone. At least 1.
            delete: Remove it.
            answers_older_than: Seconds; language-model answers older than this, too. None keeps them all.
        """
        request = maintenance_service_pb2.CollectGarbageRequest(delete=delete)
        request.older_than.FromMilliseconds(round(older_than * 1000))
        if answers_older_than is not None:
            request.answers_older_than.FromMilliseconds(round(answers_older_than * 1000))
        answer = await self._wire.call(COLLECT_GARBAGE, request, self._wire.anywhere(), _MAINTENANCE_TIMEOUT)
        return [GarbageLine(g.reason, g.object_count, g.size_bytes, tuple(g.job_ids)) for g in answer.garbage]

    async def delete_artifact(self, artifact_id: str, force: bool = False) -> int:
        """Removes an artifact and its job's record; returns how many objects went. See MaintenanceService."""
        request = maintenance_service_pb2.DeleteArtifactRequest(artifact_id=artifact_id, force=force)
        await self._check_version(self._wire.anywhere()[0])
        answer = await self._wire.call(DELETE_ARTIFACT, request, self._wire.anywhere()[0], _MAINTENANCE_TIMEOUT)
        return answer.object_count

    async def rebuild_jobs(self) -> tuple[Sequence[str], int]:
        """Makes job records for committed artifacts that have none; returns their ids, and how many are committed."""
        request = maintenance_service_pb2.RebuildJobsRequest()
        answer = await self._wire.call(REBUILD_JOBS, request, self._wire.anywhere(), _MAINTENANCE_TIMEOUT)
        return tuple(answer.job_ids), answer.artifact_count


def _in_pipeline(error: InvalidSpec, name: str, pipeline: Pipeline) -> InvalidSpec:
    """Names the job and the line of a wrong field."""
    found: list[Violation] = []
    for violation in error.violations:
        path = f"jobs.{name}.spec" + (f".{violation.field}" if violation.field else "")
        found.append(Violation(path, pipeline.lines.at(path, violation.description)))
    return InvalidSpec(found, reason=error.reason)
