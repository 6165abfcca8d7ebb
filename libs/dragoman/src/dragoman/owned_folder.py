"""A temporary folder that one process owns. What killed processes left is removed by the next that makes one."""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path


class OwnedFolder:
    """An empty folder of this process, until `remove`. The kernel tells others when its owner is dead."""

    def __init__(self, prefix: str, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        parent.mkdir(parents=True, exist_ok=True)
        _remove_orphans(parent, prefix)
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = _try_lock(self.path)
        assert lock is not None, "nobody else knows this folder yet"
        self._lock = lock

    def remove(self) -> None:
        """Removes it with all that is in it."""
        _remove(self.path, self._lock)


def _try_lock(folder: Path) -> int | None:
    """Returns a file descriptor that holds the folder for this process; the kernel lets go when the process dies."""
    lock = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _remove(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


def _remove_orphans(parent: Path, prefix: str) -> None:
    """Removes what killed processes left. A folder without a lock file is being made right now, or is not ours."""
    for folder in parent.glob(f"{prefix}*"):
        if not (folder / ".lock").is_file() or folder.stat().st_uid != os.getuid():
            continue
        lock = _try_lock(folder)
        if lock is not None:
            _remove(folder, lock)
