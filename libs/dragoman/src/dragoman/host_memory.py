"""How much memory this machine has for a process."""

import os
from pathlib import Path

GIB = 1 << 30
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def machine_memory_bytes() -> int:
    """Returns the memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def host_memory_bytes(limits: tuple[Path, ...] = _LIMITS) -> int:
    """Returns the smaller of this machine's memory and the limit of the control group (v2, v1) of this process."""
    found = [machine_memory_bytes()]
    for path in limits:
        try:
            text = path.read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdecimal():
            found.append(int(text))
    return min(found)
