"""Logs: one line a record on standard error, with the job and task it belongs to, and without secrets."""

import contextlib
import json
import logging
import sys
from collections.abc import Generator
from contextvars import ContextVar
from datetime import UTC, datetime

from dragoman.errors import InvalidSpec
from dragoman.metrics import METRICS, Metrics
from dragoman.monitoring import serve_monitoring
from dragoman.redaction import redact, register_secret

__all__ = [
    "METRICS",
    "Metrics",
    "configure_logging",
    "register_secret",
    "serve_monitoring",
    "task_logging",
]

_JOB: ContextVar[str] = ContextVar("job_id", default="")
_TASK: ContextVar[str] = ContextVar("task_id", default="")
_CHATTY = ("urllib3", "httpx", "httpcore", "asyncio", "nats")


def configure_logging(service: str, level: str = "INFO", format: str = "json") -> None:
    """Sends every log record of this process to standard error as JSON lines, or as text for people.

    Raises InvalidSpec for an unknown level or format.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise InvalidSpec(
            f"{level!r} is no log level; expected DEBUG, INFO, WARNING or ERROR", field="DRAGOMAN_LOG_LEVEL"
        )
    if format not in {"json", "text"}:
        raise InvalidSpec(f"{format!r} is no log format; expected json or text", field="DRAGOMAN_LOG_FORMAT")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service) if format == "json" else TextLines(service))
    logging.basicConfig(level=number, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


@contextlib.contextmanager
def task_logging(job_id: str, task_id: str = "") -> Generator[None]:
    """Marks every record logged inside with a job and a task; follows asyncio tasks and to_thread."""
    job, task = _JOB.set(job_id), _TASK.set(task_id)
    try:
        yield
    finally:
        _TASK.reset(task)
        _JOB.reset(job)


class JsonLines(logging.Formatter):
    """A JSON object a line: time, level, service, logger, message, and what else there is to say.

    Of a message or traceback longer than `longest` the beginning is left out.
    """

    def __init__(self, service: str, longest: int = 1 << 20) -> None:
        super().__init__()
        self._service = service
        self._longest = longest

    def format(self, record: logging.LogRecord) -> str:
        """Returns the record's line, without the line break."""
        body = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage()[-self._longest :],
            "job_id": _JOB.get(),
            "task_id": _TASK.get(),
            "error": self.formatException(record.exc_info)[-self._longest :] if record.exc_info else "",
        }
        return redact(json.dumps({k: v for k, v in body.items() if v != ""}, ensure_ascii=False))


class TextLines(logging.Formatter):
    """`12:00:01 WARNING activation bus: message [job task]`, for people."""

    def __init__(self, service: str) -> None:
        super().__init__(datefmt="%H:%M:%S")
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Returns the record's line, and the traceback below it."""
        where = " ".join(word for word in (_JOB.get(), _TASK.get()) if word)
        logger = record.name.removeprefix("dragoman.")
        line = f"{self.formatTime(record, self.datefmt)} {record.levelname} {self._service} {logger}: "
        line += record.getMessage() + (f" [{where}]" if where else "")
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return redact(line)
