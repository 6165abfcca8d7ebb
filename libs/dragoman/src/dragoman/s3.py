"""The connection to an S3 store: settings, patience, and plain words for what the store, or its absence, says."""

import logging
import random
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error
from urllib3.exceptions import HTTPError, MaxRetryError

from dragoman.client_tls import ClientTls
from dragoman.errors import DragomanError, InvalidSpec, TransientTaskError, Unavailable
from dragoman.metrics import METRICS
from dragoman.telemetry import register_secret

T = TypeVar("T")
_LOG = logging.getLogger(__name__)

_OVERLOADED = {
    "SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "OperationAborted",
    "ConditionalRequestConflict",
}  # fmt: skip
_REFUSED = {"AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId", "AllAccessDisabled", "AccountProblem"}
_NOT_IMPLEMENTED = 501


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where the object store is and how patient to be. Times in seconds."""

    endpoint: str = "127.0.0.1:8333"
    """host:port, or a http(s) address, whose scheme then overrides `secure`."""
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    bucket: str = "dragoman"
    secure: bool = False
    tls: ClientTls | None = None
    """None: the system's authorities."""
    region: str = "us-east-1"
    patience: float = 30.0
    """How long an operation is repeated while the store is away."""
    upload_part_bytes: int = 32 << 20
    """Files larger than this go up in parts of this size. S3 wants 5 MiB to 5 GiB."""
    cache_bytes: int = 16 << 30
    """Bound of a process's downloaded parts."""
    cache_folder: Path | None = None
    """Where downloaded parts lie; the system's temporary folder by default."""


class StoreUnavailable(TransientTaskError, Unavailable):
    """The object store was away, or overloaded, for longer than our patience."""


class Incomplete(Exception):
    """The store did only part of what was asked; worth another try."""


class S3:
    """A bucket's address and a minio client. Safe to share between threads."""

    def __init__(self, config: StoreConfig) -> None:
        self.config = _with_plain_endpoint(config)
        self.client = _client(self.config)
        register_secret(config.secret_key)

    @property
    def bucket(self) -> str:
        """Name of the bucket."""
        return self.config.bucket

    @property
    def where(self) -> str:
        """Address of the store, for messages."""
        return f"{'https' if self.config.secure else 'http'}://{self.config.endpoint}"

    def patiently(self, operation: str, key: str, attempt: Callable[[], T]) -> T:
        """Repeats an attempt while the store is away; returns its result.

        Raises StoreUnavailable after `patience` seconds, Unavailable when the store refuses us, and S3Error for an
        answer that the caller must understand.
        """
        deadline = time.monotonic() + self.config.patience
        for pause in _pauses():
            try:
                return _measured(operation, attempt)
            except (MinioException, HTTPError, OSError, Incomplete) as error:
                trouble = self._translate(error, operation, key)
                if trouble is error:
                    raise
                if not isinstance(trouble, StoreUnavailable) or time.monotonic() + pause > deadline:
                    raise trouble from error
                _LOG.warning("object store: %s %s: %s; again in %.1f s", operation, key, _short(error), pause)
                time.sleep(pause)
        raise AssertionError("pauses never end")

    def trouble(self) -> str:
        """Returns why the bucket cannot be used now, empty when it can. Asks once, without patience."""
        try:
            there = _measured("probe", lambda: self.client.bucket_exists(self.bucket))
        except (MinioException, HTTPError, OSError) as error:
            return str(self._translate(error, "probe", self.bucket))
        return "" if there else f"the object store at {self.where} has no bucket {self.bucket!r}"

    def _translate(self, error: Exception, operation: str, key: str) -> DragomanError | Exception:
        if isinstance(error, S3Error):
            return self._translate_answer(error, operation, key)
        if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError | MinioException):
            return error  # our own disk
        if isinstance(error, HTTPError | OSError):
            return StoreUnavailable(
                f"the object store at {self.where} cannot be reached ({_short(error)}). "
                "Start it (`dragoman up` does on a laptop) or set DRAGOMAN_S3_ENDPOINT"
            )
        return StoreUnavailable(f"the object store at {self.where} could not {operation} {key}: {_short(error)}")

    def _translate_answer(self, error: S3Error, operation: str, key: str) -> DragomanError | Exception:
        status = error.response.status
        if error.code in _REFUSED or status in {401, 403}:
            return Unavailable(
                f"the object store at {self.where} refused access to bucket {self.bucket!r} "
                f"({error.code}: {error.message}). Set DRAGOMAN_S3_ACCESS_KEY and DRAGOMAN_S3_SECRET_KEY to keys "
                "that may read, write, list and delete there, and compare the clocks of both machines",
                reason="STORE_ACCESS_DENIED",
            )
        if error.code == "NoSuchBucket":
            return Unavailable(
                f"the object store at {self.where} has no bucket {self.bucket!r}; a starting service makes it, so "
                "restart one, or set DRAGOMAN_S3_BUCKET",
                reason="NO_SUCH_BUCKET",
            )
        if error.code in _OVERLOADED or (status >= 500 and status != _NOT_IMPLEMENTED):
            return StoreUnavailable(
                f"the object store at {self.where} could not {operation} {key}: {error.code} {error.message}"
            )
        return error


def _measured(operation: str, attempt: Callable[[], T]) -> T:
    start, errors = time.monotonic(), METRICS.s3_errors.labels(operation)  # made now, so that it begins at 0
    try:
        result = attempt()
    except (MinioException, HTTPError, OSError, Incomplete):
        errors.inc()
        raise
    METRICS.s3_requests.labels(operation).inc()
    METRICS.s3_seconds.labels(operation).observe(time.monotonic() - start)
    return result


def _pauses() -> Iterator[float]:
    jitter = random.Random(uuid.uuid4().int)  # spreads clients out; no result depends on it
    pause = 0.1
    while True:
        yield pause * jitter.uniform(0.5, 1.5)
        pause = min(pause * 2, 3.0)


def _short(error: Exception) -> str:
    if isinstance(error, MaxRetryError) and error.reason is not None:
        return _short(error.reason)
    if isinstance(error, InvalidResponseError):
        return f"it is no S3 server, or a proxy answers for it: {error}"[:200]
    return (str(error).split("object at 0x", 1)[-1].split(": ", 1)[-1] or type(error).__name__)[:200]


def _with_plain_endpoint(config: StoreConfig) -> StoreConfig:
    if "://" not in config.endpoint:
        return config
    parts = urlsplit(config.endpoint)
    if parts.scheme not in {"http", "https"} or parts.path.strip("/") or not parts.netloc:
        raise InvalidSpec(f"{config.endpoint!r} is not host:port or http(s)://host:port", field="DRAGOMAN_S3_ENDPOINT")
    return replace(config, endpoint=parts.netloc, secure=parts.scheme == "https")


def _client(config: StoreConfig) -> Minio:
    """A client whose own retries are off, since `patiently` decides, and whose timeouts are on."""
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=5.0, read=20.0),
        retries=urllib3.Retry(total=0, connect=0, read=0, redirect=0, status=0, other=0),
        maxsize=32,
        ssl_context=(config.tls or ClientTls()).context() if config.secure else None,
    )
    try:
        return Minio(
            config.endpoint,
            access_key=config.access_key or None,
            secret_key=config.secret_key or None,
            secure=config.secure,
            region=config.region,
            http_client=pool,
        )
    except ValueError as error:
        raise InvalidSpec(f"{config.endpoint!r}: {error}; expected host:port", field="DRAGOMAN_S3_ENDPOINT") from error
