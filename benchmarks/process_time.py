"""CPU time of processes, and memory as a worker's child keeps it: what a busy machine changes least."""

import os
import sys
from pathlib import Path

_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(4 << 30), "MALLOC_TRIM_THRESHOLD_": str(4 << 30)}


def keep_memory() -> None:
    """Starts this program anew with a worker's settings of glibc's allocator, unless it has some.

    So what ours is held against does not give its memory back after each batch either.
    """
    if not all(name in os.environ for name in _ALLOCATOR):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**_ALLOCATOR, **os.environ})


def cpu_seconds() -> float:
    """Returns CPU seconds of this process and of all that it started, servers too, since they began."""
    parents: dict[int, int] = {}
    spent: dict[int, float] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile; whoever waited for it has its time
        pid = int(stat.parent.name)
        parents[pid] = int(fields[1])
        spent[pid] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return sum(seconds for pid, seconds in spent.items() if _is_ours(pid, parents))


def _is_ours(pid: int, parents: dict[int, int]) -> bool:
    while pid and pid != os.getpid():
        pid = parents.get(pid, 0)
    return pid == os.getpid()
