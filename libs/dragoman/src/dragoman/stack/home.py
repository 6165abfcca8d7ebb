"""A stack's home folder: one stack at a time, and a file that says where it is."""

import fcntl
import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from dragoman.errors import FailedPrecondition
from dragoman.ids import Json
from dragoman.stack.credentials import write_private

LOCK_FILE = "stack.lock"
STACK_FILE = "stack.json"
_PATIENCE = 10.0
"""Seconds that a killed stack's processes may take to end."""


def default_home(environ: Mapping[str, str]) -> Path:
    """Returns DRAGOMAN_HOME, or ~/.dragoman."""
    return Path(environ.get("DRAGOMAN_HOME") or "~/.dragoman").expanduser().absolute()


def lock_home(home: Path) -> int:
    """Takes a home for this process and what inherits the returned file descriptor.

    Raises FailedPrecondition when another stack has it.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(home / LOCK_FILE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _PATIENCE
    while not _try(lock):
        owner, since = _owner(lock)
        if _lives(owner) or time.monotonic() > deadline:
            os.close(lock)
            raise FailedPrecondition(
                f"a stack already runs in {home} (process {owner}, since {since}); `dragoman` commands find it by "
                f"{STACK_FILE} there. Stop it with Ctrl-C in its terminal or `kill {owner}`, or choose another home "
                "with DRAGOMAN_HOME",
                reason="ALREADY_RUNNING",
            )
        time.sleep(0.1)  # its process is gone, and its guard is still ending what it left
    now = datetime.now(UTC).isoformat(timespec="seconds")
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()} {now}\n".encode(), 0)
    return lock


def write_stack_file(home: Path, content: Mapping[str, Json]) -> None:
    """Says where the stack of this home is. No secrets: those are in credentials.json."""
    write_private(home / STACK_FILE, json.dumps(dict(content), indent=1) + "\n")


def _try(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(lock: int) -> tuple[int, str]:
    words = os.pread(lock, 100, 0).decode(errors="replace").split()
    return (int(words[0]), words[1]) if len(words) == 2 and words[0].isdigit() else (0, "just now")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0
