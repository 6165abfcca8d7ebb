"""Downloaded parts on local disk: bounded, verified before they are seen, gone with the process."""

import atexit
import threading
import uuid
import weakref
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from dragoman.owned_folder import OwnedFolder

_PREFIX = "dragoman-parts-"


class PartCache:
    """A folder of files by sha256, the least recently used removed first.

    A file stays as long as any reader that asked for it is alive, whatever the bound says.
    """

    def __init__(self, limit_bytes: int, parent: Path | None = None) -> None:
        self._limit = limit_bytes
        self._parent = parent
        self._folder: OwnedFolder | None = None
        self._files: OrderedDict[Path, int] = OrderedDict()
        self._pins: dict[Path, int] = {}
        self._lock = threading.RLock()

    def get(self, reader: object, sha256: str, name: str, fetch: Callable[[Path], int]) -> Path:
        """Returns the file with this sha256, fetched if it is not here.

        reader: the file stays at least as long as this object. name: the last segment becomes the file's name.
        fetch: writes and verifies a file at the path it is given; returns its size in bytes.
        """
        with self._lock:
            path = self._home() / sha256 / name.rsplit("/", 1)[-1]
            self._pin(reader, path)
            if path in self._files:
                self._files.move_to_end(path)
                return path
        partial = path.parent.with_suffix(f".{uuid.uuid4().hex}")
        try:
            size = fetch(partial)
            path.parent.mkdir(exist_ok=True)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        with self._lock:
            self._files[path] = size
            self._evict()
        return path

    @property
    def size_bytes(self) -> int:
        """Bytes of the files that are here."""
        return sum(self._files.values())

    def _pin(self, reader: object, path: Path) -> None:
        self._pins[path] = self._pins.get(path, 0) + 1
        weakref.finalize(reader, self._unpin, path).atexit = False

    def _unpin(self, path: Path) -> None:
        with self._lock:
            self._pins[path] -= 1
            if not self._pins[path]:
                del self._pins[path]

    def _evict(self) -> None:
        for path in list(self._files):
            if self.size_bytes <= self._limit:
                return
            if path not in self._pins:
                path.unlink(missing_ok=True)
                del self._files[path]

    def _home(self) -> Path:
        if self._folder is None:
            self._folder = OwnedFolder(_PREFIX, self._parent)
            atexit.register(self._folder.remove)
        return self._folder.path
