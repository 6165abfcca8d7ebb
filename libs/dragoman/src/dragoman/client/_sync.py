"""The client for code without an event loop: the same verbs, run on a private loop."""

import asyncio
import atexit
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from google.protobuf.message import Message

from dragoman.artifacts import Manifest
from dragoman.client._addresses import Addresses
from dragoman.client._async import AsyncClient
from dragoman.client._download import Report
from dragoman.client._records import GarbageLine, LineageNode, ServerInfo
from dragoman.errors import DragomanError
from dragoman.jobs import DeadLetter, JobEvent, JobRecord, JobState, LogLine
from dragoman.pipeline import Pipeline

T = TypeVar("T")


class _LoopThread:
    """One event loop in one thread for all clients: grpc.aio does not like to live in several loops."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine and returns its result; an interrupt cancels it."""
        loop = self._running()
        tasks: list[asyncio.Task[Any]] = []

        async def known() -> T:
            tasks.extend(filter(None, [asyncio.current_task()]))
            return await work

        future = asyncio.run_coroutine_threadsafe(known(), loop)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                # The task itself must have ended before we go on; a cancelled future would not say so.
                loop.call_soon_threadsafe(lambda: tasks[0].cancel() if tasks else future.cancel())
                concurrent.futures.wait([future], timeout=5)
            raise

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                thread = threading.Thread(target=self._loop.run_forever, name="dragoman-client", daemon=True)
                thread.start()
                atexit.register(self._stop, self._loop, thread)
            return self._loop

    def _stop(self, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
        """Ends the thread before the interpreter takes its modules away from under it."""
        loop.call_soon_threadsafe(loop.stop)
        thread.join(2)


_THREAD = _LoopThread()


class Client:
    """Talks to the services. Use it as `with Client() as client:`. See AsyncClient for each verb and its errors."""

    def __init__(
        self,
        addresses: Mapping[str, str] | Addresses | None = None,
        *,
        home: Path | None = None,
        timeout: float = 60.0,
        patience: float = 30.0,
    ) -> None:
        self._async = AsyncClient(addresses, home=home, timeout=timeout, patience=patience)
        self.addresses = self._async.addresses

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        _THREAD.run(self._async.close())

    def submit(self, kind: str, spec: Mapping[str, Any] | Message, request_id: str = "") -> JobRecord:
        """Submits a job; see AsyncClient.submit."""
        return _THREAD.run(self._async.submit(kind, spec, request_id))

    def submit_sweep(self, spec: Mapping[str, Any] | Message, request_id: str = "") -> dict[str, JobRecord]:
        """Submits the coders of a sweep; see AsyncClient.submit_sweep."""
        return _THREAD.run(self._async.submit_sweep(spec, request_id))

    def submit_pipeline(
        self, pipeline: Pipeline, report: Callable[[str], object] | None = None
    ) -> dict[str, JobRecord]:
        """Submits every job of a pipeline; see AsyncClient.submit_pipeline."""
        return _THREAD.run(self._async.submit_pipeline(pipeline, report))

    def get(self, job_id: str) -> JobRecord:
        """Returns a job."""
        return _THREAD.run(self._async.get(job_id))

    def list(
        self,
        kinds: Sequence[str] = (),
        states: Sequence[JobState] = (),
        *,
        created_after: float = 0.0,
        limit: int = 100,
    ) -> Sequence[JobRecord]:
        """Returns jobs, newest first; 0 as limit means all."""
        return _THREAD.run(self._async.list(kinds, states, created_after=created_after, limit=limit))

    def watch(self, job_ids: Sequence[str] = (), *, cursor: int = 0, follow: bool = False) -> Generator[JobEvent]:
        """Yields events after a cursor; see AsyncClient.watch."""
        events = self._async.watch(job_ids, cursor=cursor, follow=follow)

        steps: list[asyncio.Task[Any] | None] = [None]

        async def step() -> JobEvent | None:
            steps[0] = asyncio.current_task()
            return await anext(events, None)

        async def close() -> None:
            if steps[0] is not None:  # an interrupt may have left the last step under way
                steps[0].cancel()
                await asyncio.gather(steps[0], return_exceptions=True)
            await events.aclose()

        try:
            while (event := _THREAD.run(step())) is not None:
                yield event
        finally:
            _THREAD.run(close())

    def wait(self, job_id: str, timeout: float | None = None) -> JobRecord:
        """Returns the job once it is terminal, or as it is after `timeout` seconds."""
        return _THREAD.run(self._async.wait(job_id, timeout))

    def cancel(self, job_id: str) -> JobRecord:
        """Asks for cancellation."""
        return _THREAD.run(self._async.cancel(job_id))

    def retry(self, job_id: str) -> JobRecord:
        """Queues a failed or cancelled job again."""
        return _THREAD.run(self._async.retry(job_id))

    def manifest(self, artifact_id: str) -> Manifest:
        """Returns the manifest of a committed artifact."""
        return _THREAD.run(self._async.manifest(artifact_id))

    def download(self, artifact_id: str, folder: Path | str, report: Report | None = None) -> Path:
        """Fetches an artifact into `<folder>/<artifact_id>`; see AsyncClient.download."""
        return _THREAD.run(self._async.download(artifact_id, folder, report))

    def read_part(self, artifact_id: str, name: str) -> bytes:
        """Returns one part of an artifact; see AsyncClient.read_part."""
        return _THREAD.run(self._async.read_part(artifact_id, name))

    def lineage(self, artifact_id: str) -> Sequence[LineageNode]:
        """Returns the artifact and everything it was made from."""
        return _THREAD.run(self._async.lineage(artifact_id))

    def server_info(self) -> Mapping[str, ServerInfo | DragomanError]:
        """Returns what each known server says of itself, or why it does not."""
        return _THREAD.run(self._async.server_info())

    def log_lines(self, job_id: str, task_id: str = "") -> Sequence[LogLine]:
        """Returns what a job's tasks logged, or one of them; see AsyncClient.log_lines."""

        async def all_lines() -> list[LogLine]:
            return [line async for line in self._async.log_lines(job_id, task_id)]

        return _THREAD.run(all_lines())

    def dead_letters(self, job_id: str = "", limit: int = 50) -> Sequence[DeadLetter]:
        """Returns tasks that were given up, newest first."""
        return _THREAD.run(self._async.dead_letters(job_id, limit))

    def collect_garbage(
        self, older_than: float = 7 * 86_400.0, delete: bool = False, answers_older_than: float | None = None
    ) -> Sequence[GarbageLine]:
        """Returns, and with `delete` removes, what nothing needs any more; see AsyncClient.collect_garbage."""
        return _THREAD.run(self._async.collect_garbage(older_than, delete, answers_older_than))

    def delete_artifact(self, artifact_id: str, force: bool = False) -> int:
        """Removes an artifact and its job's record; returns how many objects went."""
        return _THREAD.run(self._async.delete_artifact(artifact_id, force))

    def rebuild_jobs(self) -> tuple[Sequence[str], int]:
        """Makes job records for committed artifacts that have none; returns their ids, and how many are committed."""
        return _THREAD.run(self._async.rebuild_jobs())
