"""The child process that computes: started when needed, kept between tasks, killed when it must stop."""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from dragoman.worker.messages import RUN, SAID, Run, Said

_LOG = logging.getLogger(__name__)
_LINE_LIMIT = 64 << 20


_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(4 << 30), "MALLOC_TRIM_THRESHOLD_": str(4 << 30)}
"""glibc gives the memory of large tensors back after each batch and takes it anew, page by page: a fifth of a forward
pass on a CPU. A child keeps it instead, until it ends. An operator's own values count."""


class ChildDied(Exception):
    """The child ended without saying why."""

    def __init__(self, returncode: int | None) -> None:
        self.returncode = returncode
        super().__init__(describe_exit(returncode))


class Child:
    """One child process, running `python -m <package> tasks`.

    All its temporary files lie in a folder of its own, which goes when the process has gone, however that ended.
    """

    def __init__(self, package: str, scratch: Path, environ: Mapping[str, str] | None = None) -> None:
        self._package = package
        self._scratch = scratch
        self._environ = dict(os.environ if environ is None else environ)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Starts the process if none runs. Returns at once; loading happens inside."""
        if self.pid is not None:
            return
        await self._clean()
        self._scratch.mkdir()
        own = {"DRAGOMAN_PARENT_PID": str(os.getpid()), "TMPDIR": str(self._scratch)}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._package,
            "tasks",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**_ALLOCATOR, **self._environ, **own},
            limit=_LINE_LIMIT,
            start_new_session=True,
        )

    async def send(self, run: Run) -> None:
        """Hands over a task. Raises ChildDied."""
        process = self._process
        assert process is not None, "start() first"
        assert process.stdin is not None
        try:
            process.stdin.write(RUN.dump(run) + b"\n")
            await process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ChildDied(await process.wait()) from error

    async def hear(self) -> Said:
        """Returns the next thing the child says. Raises ChildDied when it ends."""
        process = self._process
        assert process is not None, "start() first"
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            raise ChildDied(await process.wait())
        return SAID.load(line)

    async def kill(self) -> None:
        """Ends the child and what it started, now, and waits until its memory and its files are gone."""
        process = self._process
        self._process = None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            _LOG.info("child %d is stopped", process.pid)
        await self._clean()

    async def _clean(self) -> None:
        await asyncio.to_thread(shutil.rmtree, self._scratch, ignore_errors=True)


def describe_exit(returncode: int | None) -> str:
    """Says in the user's words how a process ended."""
    if returncode is None:
        return "the worker's process ended"
    if returncode < 0:
        name = signal.Signals(-returncode).name
        hint = "; the machine may have run out of memory" if name == "SIGKILL" else ""
        return f"the worker's process was killed by {name}{hint}"
    return f"the worker's process exited with code {returncode} before the task was done"
