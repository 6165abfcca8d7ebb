"""Ends the stack's processes when the stack itself is gone, however it went: `python guard.py FILE`, run by `Guard`.

Reads `+<process group>` and `-<process group>` lines from standard input. At its end, which the kernel brings about
even when the stack is killed, every group that is left gets SIGTERM and then SIGKILL, and FILE, which tells clients
where the stack is, goes. It holds the lock of the stack's home open until then, so that the next stack starts only
when the ports are free again.

Standard library only: it is started by path and must be up within milliseconds.
"""

import contextlib
import os
import signal
import sys
import time

_GRACE = 5.0


def main() -> None:
    """Listens until standard input ends, then ends what is left."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    _signal(groups, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE
    while groups and time.monotonic() < deadline:
        groups = {group for group in groups if _lives(group)}
        time.sleep(0.05)
    _signal(groups, signal.SIGKILL)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(sys.argv[1])  # noqa: PTH108  pathlib would double the start-up time


def _signal(groups: set[int], name: signal.Signals) -> None:
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, name)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    main()
