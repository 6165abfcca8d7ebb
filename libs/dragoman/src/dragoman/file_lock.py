"""A file that one holder has at a time; the kernel lets go when the holder dies."""

import fcntl
import os
from pathlib import Path


def try_lock(path: Path, *, create: bool = True) -> int | None:
    """Returns a descriptor that holds a file locked until it is closed; None when another holds it.

    Raises FileNotFoundError when there is no such file and it shall not be created.
    """
    file = os.open(path, (os.O_CREAT if create else 0) | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file
