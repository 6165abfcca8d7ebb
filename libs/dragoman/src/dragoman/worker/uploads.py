"""Uploads the parts of a task, one after the other; those whose files stay, while the task goes on."""

import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from dragoman.artifacts import PartInfo
from dragoman.kinds import Part


class Uploads:
    """At most one part is on its way, so that a task is never more than one part ahead of the store. Use as `with`."""

    def __init__(self, put: Callable[[Part], PartInfo], uploaded: Callable[[], None]) -> None:
        """`put` uploads a part; `uploaded` is called after each, by the thread that uploaded it."""
        self._put, self._uploaded = put, uploaded
        self._thread = ThreadPoolExecutor(1, "upload")
        self._on_its_way: Future[PartInfo] | None = None
        self._parts: list[PartInfo] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._thread.shutdown(cancel_futures=True)

    def add(self, part: Part) -> None:
        """Uploads a part, and waits for it unless its file stays. Raises what uploading the one before raised."""
        self.wait()
        self._on_its_way = self._thread.submit(contextvars.copy_context().run, self._upload, part)
        if not part.stays:
            self.wait()

    def wait(self) -> list[PartInfo]:
        """Returns all parts, in the order they were added, once they are in the store. Raises what uploading raised."""
        if self._on_its_way is not None:
            upload, self._on_its_way = self._on_its_way, None
            self._parts.append(upload.result())
        return self._parts

    def _upload(self, part: Part) -> PartInfo:
        made = self._put(part)
        self._uploaded()
        return made
