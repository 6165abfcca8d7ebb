"""One task at a time on a small machine, whichever service it belongs to."""

import asyncio
import fcntl
import os
from pathlib import Path
from types import TracebackType


class MachineLock:
    """An advisory file lock, freed by the kernel when its holder dies. Without a path it locks nothing.

    A laptop's two cores are shared by four services and a language model: two heavy tasks at once would each take
    more than twice as long.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: int | None = None

    async def __aenter__(self) -> None:
        if self._path is None:
            return
        file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            os.close(file)
            raise
        self._file = file

    async def __aexit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
