"""What one attempt at a task has said, written down now and then: a killed child's last words stay."""

import asyncio
import json
import logging
import time
from collections import deque
from datetime import UTC, datetime

from dragoman.errors import DragomanError
from dragoman.joblog import Attempt, JobLog
from dragoman.jobs import Failure

_LOG = logging.getLogger(__name__)
_MOST_BYTES = 512 << 10
_EVERY_S = 10.0


class TaskLog:
    """The newest half megabyte of an attempt's lines. A log that cannot be stored never fails its task."""

    def __init__(self, log: JobLog, job_id: str, task_id: str, attempt: int) -> None:
        self._log = log
        self._attempt = Attempt(job_id, task_id, attempt, int(time.time() * 1e3))
        self._lines: deque[str] = deque()
        self._size = self._left_out = 0
        self._written = time.monotonic()
        self._news = False

    def add(self, line: str) -> None:
        """Takes a line of JSON."""
        self._lines.append(line)
        self._size += len(line)
        while self._size > _MOST_BYTES:
            self._size -= len(self._lines.popleft())
            self._left_out += 1
        self._news = True

    def add_failure(self, failure: Failure) -> None:
        """Takes why the attempt failed."""
        self.add(_line("ERROR", f"{failure.reason}: {failure.message}", failure.debug))

    async def save_sometimes(self) -> None:
        """Stores what is new, when the last time is a while ago."""
        if time.monotonic() - self._written > _EVERY_S:
            await self.save()

    async def save(self) -> None:
        """Stores the lines when there are new ones."""
        self._written = time.monotonic()
        if not self._news:
            return
        self._news = False
        missing = [_line("WARNING", f"{self._left_out} earlier lines are left out")] if self._left_out else []
        try:
            await asyncio.to_thread(self._log.write, self._attempt, [*missing, *self._lines])
        except DragomanError as error:
            _LOG.warning("could not store the log: %s", error)


def _line(level: str, message: str, error: str = "") -> str:
    when = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": when, "level": level, "logger": "dragoman.worker", "message": message, "error": error})
