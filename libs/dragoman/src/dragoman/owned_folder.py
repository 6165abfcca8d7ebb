"""A temporary folder that one process owns. What killed processes left is removed by the next that makes one."""

import os
import shutil
import tempfile
from pathlib import Path

from dragoman.file_lock import try_lock

_LOCK = ".lock"


class OwnedFolder:
    """An empty folder of this process, until `remove`. The kernel tells others when its owner is dead."""

    def __init__(self, prefix: str, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        parent.mkdir(parents=True, exist_ok=True)
        _remove_orphans(parent, prefix)
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = try_lock(self.path / _LOCK)
        assert lock is not None, "nobody else knows this folder yet"
        self._lock = lock

    def remove(self) -> None:
        """Removes it with all that is in it."""
        _remove(self.path, self._lock)


def _remove(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


def _remove_orphans(parent: Path, prefix: str) -> None:
    """Removes what killed processes left. A folder without a lock file is being made right now, or is not ours."""
    for folder in parent.glob(f"{prefix}*"):
        if not (folder / _LOCK).is_file() or folder.stat().st_uid != os.getuid():
            continue
        lock = try_lock(folder / _LOCK)
        if lock is not None:
            _remove(folder, lock)
