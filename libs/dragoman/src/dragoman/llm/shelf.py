"""The replies of one call's requests in the response cache: one by one, or in pages.

A short reply costs less than its two requests to an object store, one to look for it and one to keep it. Those of
neighbouring requests are kept in pages therefore. A page is written piece by piece, so that a process that is killed
loses the replies of the last seconds and no others.
"""

import asyncio
import hashlib
import json
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

from dragoman.llm.cache import ResponseCache

PAGE = 64
"""Requests of a page."""
_PATIENCE = 5.0
"""Seconds after which what is new on a page is written."""


class Shelf(ABC):
    """Where the replies of some requests are looked for and kept, by the request's place in the call."""

    @abstractmethod
    async def get(self, place: int) -> bytes | None:
        """Returns the reply that was kept, None where there is none."""

    @abstractmethod
    async def keep(self, place: int, reply: bytes) -> bytes:
        """Keeps a reply unless one is kept; returns the one that counts: the first."""

    @abstractmethod
    async def mend(self, place: int, reply: bytes) -> None:
        """Keeps a reply in place of a damaged one."""

    @abstractmethod
    def close(self) -> None:
        """Writes what is not written yet. It blocks, so that no cancellation comes between."""


class Singles(Shelf):
    """An entry of the cache for each request."""

    def __init__(self, cache: ResponseCache, keys: Sequence[str]) -> None:
        self._cache, self._keys = cache, keys

    async def get(self, place: int) -> bytes | None:
        """See Shelf.get."""
        return await asyncio.to_thread(self._cache.get, self._keys[place])

    async def keep(self, place: int, reply: bytes) -> bytes:
        """See Shelf.keep."""
        return await asyncio.to_thread(self._cache.keep, self._keys[place], reply)

    async def mend(self, place: int, reply: bytes) -> None:
        """See Shelf.mend."""
        await asyncio.to_thread(self._cache.put, self._keys[place], reply)

    def close(self) -> None:
        """See Shelf.close. Nothing waits."""


class Pages(Shelf):
    """An entry of the cache for each piece of a page. A page is named by the requests on it: in another call with the
    same requests from its first to its last it is found again.
    """

    def __init__(self, cache: ResponseCache, keys: Sequence[str]) -> None:
        self._keys = keys
        self._pages = [_Page(cache, keys[first : first + PAGE]) for first in range(0, len(keys), PAGE)]
        self._opened: dict[int, asyncio.Task[None]] = {}

    async def get(self, place: int) -> bytes | None:
        """See Shelf.get. The next page is opened meanwhile."""
        number = place // PAGE
        for near in (number, number + 1):
            if near < len(self._pages) and near not in self._opened:
                self._opened[near] = asyncio.create_task(asyncio.to_thread(self._pages[near].open))  # pyright: ignore
        await asyncio.shield(self._opened[number])
        return self._pages[number].known.get(self._keys[place])

    async def keep(self, place: int, reply: bytes) -> bytes:
        """See Shelf.keep."""
        page = self._pages[place // PAGE]
        counts = page.add(self._keys[place], reply)
        if page.due:
            await asyncio.to_thread(page.write, page.taken())
        return counts

    async def mend(self, place: int, reply: bytes) -> None:
        """See Shelf.mend."""
        page = self._pages[place // PAGE]
        page.known.pop(self._keys[place], None)
        page.add(self._keys[place], reply)

    def close(self) -> None:
        """See Shelf.close."""
        for page in self._pages:
            page.write(page.taken())


class _Page:
    """The replies to some requests that follow each other."""

    def __init__(self, cache: ResponseCache, keys: Sequence[str]) -> None:
        self._cache, self._size = cache, len(set(keys))
        self._name = hashlib.sha256("".join(keys).encode()).hexdigest()
        self._fresh: dict[str, bytes] = {}
        self._since = time.monotonic()
        self._pieces = 0
        self._writing = threading.Lock()
        self.known: dict[str, bytes] = {}

    def open(self) -> None:
        """Reads the pieces that are there."""
        while len(self.known) < self._size:
            piece = self._cache.get(self._piece_name())
            if piece is None:
                return
            self._pieces += 1
            self.known = _read(piece) | self.known

    def add(self, key: str, reply: bytes) -> bytes:
        """Takes a reply, to be written later; returns the one that counts."""
        if key not in self.known:
            if not self._fresh:
                self._since = time.monotonic()
            self.known[key] = self._fresh[key] = reply
        return self.known[key]

    @property
    def due(self) -> bool:
        """Whether it is time to write: the page is full, or its oldest reply has waited long enough."""
        full = len(self.known) == self._size
        return bool(self._fresh) and (full or time.monotonic() - self._since > _PATIENCE)

    def taken(self) -> dict[str, bytes]:
        """Returns what is new, to be written."""
        fresh, self._fresh = self._fresh, {}
        return fresh

    def write(self, fresh: dict[str, bytes]) -> None:
        """Writes replies as the next piece; where another process wrote one meanwhile, as the one after it."""
        with self._writing:
            while fresh:
                data = json.dumps({key: reply.decode() for key, reply in fresh.items()}).encode()
                stored = _read(self._cache.keep(self._piece_name(), data))
                self._pieces += 1
                fresh = {key: reply for key, reply in fresh.items() if key not in stored}

    def _piece_name(self) -> str:
        return f"{self._name}-{self._pieces:04d}"


def _read(piece: bytes) -> dict[str, bytes]:
    """A damaged piece has nothing."""
    try:
        found = json.loads(piece)
        return {str(key): str(reply).encode() for key, reply in cast("dict[str, str]", found).items()}
    except (ValueError, AttributeError):
        return {}
