"""JSON logs, one line a record, that say which job and task they belong to and never show a secret."""

import contextlib
import json
import logging
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar

_JOB: ContextVar[str] = ContextVar("job_id", default="")
_TASK: ContextVar[str] = ContextVar("task_id", default="")
_SECRETS: set[str] = set()
_STANDARD = frozenset(vars(logging.makeLogRecord({})))


@contextlib.contextmanager
def task_logging(job_id: str, task_id: str) -> Iterator[None]:
    """Every record inside the block carries these ids."""
    job, task = _JOB.set(job_id), _TASK.set(task_id)
    try:
        yield
    finally:
        _JOB.reset(job)
        _TASK.reset(task)


def register_secret(value: str) -> None:
    """From now on no log line shows this value."""
    if len(value) >= 4:
        _SECRETS.add(value)


def redact(text: str) -> str:
    """Returns the text with every registered secret blotted out."""
    for secret in _SECRETS:
        text = text.replace(secret, "[redacted]")
    return text


class JsonFormatter(logging.Formatter):
    """One JSON object a record: time, level, service, logger, message, ids, extras, traceback."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in (("job_id", _JOB.get()), ("task_id", _TASK.get())) if value}
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD and name != "message"}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return redact(json.dumps(line, default=str))


class TextFormatter(logging.Formatter):
    """The same for people: time, level, logger, ids, message."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        ids = " ".join(part for part in (_JOB.get(), _TASK.get()) if part)
        head = f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {record.levelname:7} {record.name}"
        text = f"{head} {ids}: {record.getMessage()}" if ids else f"{head}: {record.getMessage()}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return redact(text)


def configure_logging(service: str, level: str = "INFO", format: str = "json") -> None:
    """Sends all logs of this process to standard error, as JSON or, with format "text", for people."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter() if format == "text" else JsonFormatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("httpx", "httpcore", "urllib3", "nats.js.kv"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
