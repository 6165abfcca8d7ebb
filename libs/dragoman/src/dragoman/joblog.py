"""The log of a job's tasks: a small object for each attempt that had something to say, beside the artifact.

logs/<job>/<stage>-<index>/<milliseconds since the epoch>-<attempt>.jsonl

Lines are those of `dragoman.telemetry.JsonLines`, without secrets.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from dragoman.errors import InvalidSpec
from dragoman.jobs import LogLine
from dragoman.store import Store

_PAGE_BYTES = 2 << 20


@dataclass(frozen=True, slots=True)
class LogPage:
    """Lines by task, attempt and time."""

    lines: Sequence[LogLine]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a task, by which its lines are found. `began` is in milliseconds since the epoch."""

    job_id: str
    task_id: str
    number: int
    began: int

    @property
    def key(self) -> str:
        """Key of its object."""
        return f"logs/{self.job_id}/{self.task_id}/{self.began}-{self.number}.jsonl"

    @classmethod
    def of(cls, key: str) -> "Attempt":
        """Returns the attempt of a key."""
        _, job_id, task_id, name = key.split("/")
        began, number = name.removesuffix(".jsonl").split("-")
        return cls(job_id, task_id, int(number), int(began))

    @property
    def order(self) -> tuple[int, int, int]:
        """By task, as they are planned, then by time."""
        stage, index = self.task_id.split("-")
        return int(stage), int(index), self.began


class JobLog:
    """Writes and reads logs. Every method is safe to repeat."""

    def __init__(self, store: Store) -> None:
        self._objects = store.objects

    def write(self, attempt: Attempt, lines: Sequence[str]) -> None:
        """Stores what an attempt has said so far, in the place of what was stored of it before."""
        self._objects.put_bytes(attempt.key, "\n".join(lines).encode())

    def page(self, job_id: str, task_id: str, size: int, token: str) -> LogPage:
        """Returns at most so many lines of a job, or of one of its tasks, after those of the page before.

        Raises InvalidSpec for a token that is not of an earlier page.
        """
        found = self._objects.list(f"logs/{job_id}/{task_id}/" if task_id else f"logs/{job_id}/")
        attempts = sorted((Attempt.of(item.key) for item in found), key=lambda attempt: attempt.order)
        after, skip = _place(token)
        lines: list[LogLine] = []
        size_bytes = 0
        for attempt in attempts:
            if attempt.order < after:
                continue
            first = skip if attempt.order == after else 0
            for number, line in enumerate(self._read(attempt)):
                if number < first:
                    continue
                if len(lines) == size or size_bytes > _PAGE_BYTES:
                    return LogPage(lines, "/".join(map(str, (*attempt.order, number))))
                lines.append(line)
                size_bytes += len(line.message) + len(line.error)
        return LogPage(lines, "")

    def _read(self, attempt: Attempt) -> Iterator[LogLine]:
        for text in (self._objects.get_bytes(attempt.key) or b"").decode().split("\n"):
            if not text:
                continue
            told = json.loads(text)
            yield LogLine(
                datetime.fromisoformat(told["time"]).timestamp(),
                told["level"],
                attempt.task_id,
                attempt.number,
                told["logger"],
                told["message"],
                told.get("error", ""),
            )


def _place(token: str) -> tuple[tuple[int, int, int], int]:
    try:
        stage, index, began, line = (int(word) for word in (token or "0/0/0/0").split("/"))
    except ValueError:
        raise InvalidSpec(f"{token!r} is not a page token of ours", field="page_token") from None
    return (stage, index, began), line
