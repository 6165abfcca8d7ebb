"""Keeps the stack's processes running: restarts what crashes, gives up on what keeps crashing."""

import logging
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dragoman.errors import NotFound, Unavailable
from dragoman.stack.process import Guard, Process, Program

_LOG = logging.getLogger(__name__)

_WINDOW = 60.0
_CRASHES_IN_WINDOW = 5
_CRASHES_BEFORE_HEALTHY = 2
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_POLL = 0.1


@dataclass(frozen=True, slots=True)
class ProcessState:
    """How a process of the stack is doing."""

    name: str
    pid: int | None
    restart_count: int
    address: str


@dataclass
class _Child:
    program: Program
    process: Process | None = None
    wanted: bool = False
    healthy: bool = False
    restart_count: int = 0
    resume_at: float = 0.0
    crashes: list[float] = field(default_factory=list[float])


class Supervisor:
    """The processes by name. Safe to call from any thread."""

    def __init__(self, logs: Path, guard: Guard) -> None:
        self._logs = logs
        self._guard = guard
        self._children: dict[str, _Child] = {}
        self._lock = threading.RLock()
        self._over = threading.Event()
        self.failed = threading.Event()
        """Set when a program is given up."""
        self.failure: Unavailable | None = None
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._thread.start()

    def start(self, program: Program) -> None:
        """Starts a program and keeps it running from now on."""
        with self._lock:
            child = self._children.setdefault(program.name, _Child(program))
            if child.process is None:
                child.process = Process(program, self._logs, self._guard)
            child.wanted, child.crashes = True, []

    def resume(self, name: str) -> None:
        """Starts a program that was killed."""
        self.start(self._child(name).program)

    def kill(self, name: str, with_signal: signal.Signals = signal.SIGKILL) -> None:
        """Ends a program and leaves it so until it is resumed. Other than SIGKILL it may take the program's grace."""
        with self._lock:
            child = self._child(name)
            child.wanted = False
            process, child.process = child.process, None
        if process is not None:
            process.send(with_signal)
            process.wait(child.program.grace)
            process.reap()

    def stop(self, names: Sequence[str]) -> None:
        """Ends programs side by side: SIGTERM, each program's grace, then SIGKILL."""
        with self._lock:
            known = [self._children[name] for name in names if name in self._children]
            processes = [child.process for child in known if child.process is not None]
            for child in known:
                child.wanted, child.process = False, None
        for process in processes:
            process.send(signal.SIGTERM)
        start = time.monotonic()
        for process in processes:
            if not process.wait(max(0.0, start + process.program.grace - time.monotonic())):
                _LOG.warning("%s did not end within %g s and is killed", process.program.name, process.program.grace)
            process.reap()

    def close(self) -> None:
        """Stops watching. Processes are left to `stop`, and to the guard."""
        self._over.set()
        self._thread.join()

    def wait_healthy(self, name: str) -> None:
        """Returns when a program is healthy. Raises Unavailable, with its log's last lines, when it never is."""
        child = self._child(name)
        deadline = time.monotonic() + child.program.patience
        while True:
            if self.failure is not None:
                raise self.failure
            missing = child.program.check()
            if not missing and self.pid(name) is not None:
                child.healthy = True
                return
            if time.monotonic() > deadline:
                words = f"{name} is not healthy after {child.program.patience:g} s ({missing})"
                raise Unavailable(f"{words}. {self._last_words(child)}", reason="NOT_HEALTHY")
            self.failed.wait(0.05)

    def pid(self, name: str) -> int | None:
        """Returns the process id of a program that runs."""
        process = self._child(name).process
        return process.pid if process is not None and process.returncode is None else None

    def states(self) -> Sequence[ProcessState]:
        """Returns every program in the order of its first start."""
        with self._lock:
            children = list(self._children.values())
        return [
            ProcessState(c.program.name, self.pid(c.program.name), c.restart_count, c.program.address) for c in children
        ]

    def _child(self, name: str) -> _Child:
        try:
            return self._children[name]
        except KeyError:
            raise NotFound(f"the stack runs no {name!r}; it runs {', '.join(self._children)}") from None

    # ------------------------------------------------------------------ watch

    def _watch(self) -> None:
        while not self._over.wait(_POLL):
            with self._lock:
                for child in self._children.values():
                    if child.wanted:
                        self._look_after(child)

    def _look_after(self, child: _Child) -> None:
        now = time.monotonic()
        if child.process is None:
            if now >= child.resume_at:
                child.process = Process(child.program, self._logs, self._guard)
                child.restart_count += 1
            return
        if child.process.returncode is None:
            return
        returncode = child.process.returncode
        child.process.reap()
        child.crashes = [*(at for at in child.crashes if at > now - _WINDOW), now]
        if len(child.crashes) > (_CRASHES_IN_WINDOW if child.healthy else _CRASHES_BEFORE_HEALTHY):
            self._give_up(child, returncode)
            return
        pause = min(_FIRST_PAUSE * 2 ** (len(child.crashes) - 1), _LONGEST_PAUSE)
        _LOG.warning("%s ended (%s) and is started again in %.1f s", child.program.name, _ending(returncode), pause)
        child.process, child.resume_at = None, now + pause

    def _give_up(self, child: _Child, returncode: int) -> None:
        child.wanted = False
        words = f"{child.program.name} ended {len(child.crashes)} times within a minute, last {_ending(returncode)}"
        self.failure = Unavailable(f"{words}. {self._last_words(child)}", reason="KEEPS_CRASHING")
        child.process = None
        self.failed.set()

    def _last_words(self, child: _Child) -> str:
        log = self._logs / f"{child.program.name}.log"
        if child.process is None:
            return f"Its log is {log}"
        return f"The end of its log, {log}:\n{child.process.last_words()}"


def _ending(returncode: int) -> str:
    return f"by {signal.Signals(-returncode).name}" if returncode < 0 else f"with exit code {returncode}"
