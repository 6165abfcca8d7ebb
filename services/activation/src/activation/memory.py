"""How much memory a host may use, and whether a model's weights fit into it. Imports no torch."""

import os
from pathlib import Path

ELEMENT_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
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


def weights_bytes(parameter_count: int, dtype: str) -> int:
    """Returns the bytes of a model's weights, the least that it takes in memory."""
    return parameter_count * ELEMENT_BYTES[dtype]


def does_not_fit(parameter_count: int, dtype: str, available: int, where: str) -> str | None:
    """Returns why a model's weights are too large for a memory, with both sizes; None when they are not."""
    needed = weights_bytes(parameter_count, dtype)
    if needed <= available:
        return None
    smaller = "use bfloat16, " if dtype == "float32" else ""
    return (
        f"its {parameter_count:,} parameters take {needed / GIB:.3g} GiB as {dtype}, {where} has "
        f"{available / GIB:.3g} GiB; {smaller}a smaller model or a worker with more memory"
    )
