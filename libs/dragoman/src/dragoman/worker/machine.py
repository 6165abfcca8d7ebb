"""One task at a time on a small machine, whichever service it belongs to."""

import asyncio
import os
import secrets
import time
from pathlib import Path
from types import TracebackType

from dragoman.file_lock import try_lock

_POLL_SECONDS = 0.05


class MachineLock:
    """An advisory file lock, freed by the kernel when its holder dies. Without a path it locks nothing.

    A laptop's two cores are shared by four services and a language model: two heavy tasks at once would each take
    more than twice as long. Who came first goes first: the kernel alone would let whoever has just let go take the
    machine again, and a short task of one service could wait for all the long ones of another.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: int | None = None

    async def __aenter__(self) -> None:
        if self._path is not None:
            self._file = await _taken(self._path)

    async def __aexit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


async def _taken(path: Path) -> int:
    """Returns a descriptor that holds the lock, when it is this one's turn."""
    ticket = _Ticket(path.with_name(f"{path.name}.queue"))
    try:
        while True:
            file = try_lock(path) if ticket.is_first() else None
            if file is not None:
                return file
            await asyncio.sleep(_POLL_SECONDS)
    finally:
        ticket.close()


class _Ticket:
    """A place in the queue: a file, named by when its waiter came, that the waiter holds locked while it lives."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
        file = try_lock(folder / f".{name}")
        assert file is not None, "nobody else knows this file yet"
        self._file = file
        # Seen by others only now that it is held: one that nobody holds is that of a dead waiter.
        self._path = (folder / f".{name}").rename(folder / name)

    def is_first(self) -> bool:
        """Returns whether no living waiter came before; removes the tickets of dead ones."""
        for path in sorted(self._path.parent.glob("[0-9]*")):
            if path >= self._path:
                return True
            try:
                file = try_lock(path, create=False)
            except FileNotFoundError:
                continue  # it has just left
            if file is None:
                return False
            path.unlink(missing_ok=True)
            os.close(file)
        return True

    def close(self) -> None:
        """Leaves the queue."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)
