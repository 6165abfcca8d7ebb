# pyright: reportPrivateUsage=false
# The minio client has no public way to put conditionally, or to keep a multipart upload over a restart of the store.
"""Objects of one S3 bucket, over the minio client: patient with a store that is away, plain about one that refuses.

Every operation here is safe to repeat, and is repeated with jitter for `StoreConfig.patience` seconds while the
store is away or overloaded.
"""

import contextlib
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from minio.datatypes import Part as UploadedPart
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError

from dragoman.errors import DataLoss
from dragoman.metrics import METRICS
from dragoman.s3 import S3, Incomplete, StoreUnavailable

T = TypeVar("T")
_LOG = logging.getLogger(__name__)

_BLOCK = 1 << 20
_ABSENT = {"NoSuchKey", "NoSuchUpload", "NotFound", "ResourceNotFound"}


class Objects:
    """A bucket. Safe to share between threads."""

    def __init__(self, s3: S3) -> None:
        self._s3 = s3
        self._client, self._bucket = s3.client, s3.bucket

    # ------------------------------------------------------------------ write

    def put_bytes(self, key: str, data: bytes) -> None:
        """Writes an object, replacing what was there."""
        self._s3.patiently("put", key, lambda: self._put(key, data))
        METRICS.s3_bytes.labels("put").inc(len(data))

    def put_file(self, key: str, path: Path) -> tuple[int, str]:
        """Writes a file as an object; returns its size in bytes and hex sha256. Large files go up in parts."""
        size = path.stat().st_size
        if size <= self._s3.config.upload_part_bytes:
            data = path.read_bytes()
            self.put_bytes(key, data)
            return len(data), hashlib.sha256(data).hexdigest()
        for _ in range(3):
            with contextlib.suppress(_UploadLost):
                return self._put_in_parts(key, path)
        raise StoreUnavailable(f"the object store at {self._s3.where} lost three uploads of {key}; see its log")

    def _put_in_parts(self, key: str, path: Path) -> tuple[int, str]:
        upload = self._s3.patiently("put", key, lambda: self._client._create_multipart_upload(self._bucket, key, {}))
        try:
            digest, size, done = hashlib.sha256(), 0, list[UploadedPart]()
            with path.open("rb") as file:
                while data := file.read(self._s3.config.upload_part_bytes):
                    done.append(self._put_upload_part(key, data, upload, len(done) + 1))
                    digest.update(data)
                    size += len(data)
                    METRICS.s3_bytes.labels("put").inc(len(data))
            self._complete(key, upload, done)
        except BaseException:
            self._abort(key, upload)
            raise
        return size, digest.hexdigest()

    def _put_upload_part(self, key: str, data: bytes, upload: str, number: int) -> UploadedPart:
        def attempt() -> str:
            try:
                return self._client._upload_part(self._bucket, key, data, None, upload, number)
            except S3Error as error:
                if error.code == "NoSuchUpload":
                    raise _UploadLost from error
                raise

        return UploadedPart(number, self._s3.patiently("put", key, attempt))

    def _complete(self, key: str, upload: str, parts: list[UploadedPart]) -> None:
        def attempt() -> None:
            try:
                self._client._complete_multipart_upload(self._bucket, key, upload, parts)
            except S3Error as error:  # an answer that got lost looks like this too: the caller uploads once more
                if error.code in {"NoSuchUpload", "InvalidPart"}:
                    raise _UploadLost from error
                raise

        self._s3.patiently("put", key, attempt)

    def _abort(self, key: str, upload: str) -> None:
        try:
            self._client._abort_multipart_upload(self._bucket, key, upload)
        except (MinioException, HTTPError, OSError) as error:
            _LOG.info("upload of %s is left to the next sweep: %s", key, error)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Writes an object unless there is one; returns whether it is ours.

        When an answer got lost on the way and the repeated request finds our own bytes, they are ours.
        """
        tried = 0

        def attempt() -> bool:
            nonlocal tried
            tried += 1
            try:
                self._put(key, data, {"If-None-Match": "*"})
                return True
            except S3Error as error:
                if error.code == "PreconditionFailed" or error.response.status == 412:
                    return False
                raise
            except ServerError as error:
                if error.status_code in {304, 412}:  # 304 is what MinIO before 2023 answered
                    return False
                raise

        created = self._s3.patiently("put_if_absent", key, attempt)
        return created or (tried > 1 and self.get_bytes(key) == data)

    def _put(self, key: str, data: bytes, headers: dict[str, str] | None = None) -> None:
        content = {"Content-Type": "application/octet-stream", **(headers or {})}
        self._client._execute("PUT", self._bucket, key, body=data, headers=dict(content), no_body_trace=True)

    # ------------------------------------------------------------------- read

    def get_bytes(self, key: str) -> bytes | None:
        """Returns a whole object, or None when there is none."""
        data = self._s3.patiently("get", key, lambda: _or_none(lambda: self._get(key, 0, 0)))
        METRICS.s3_bytes.labels("get").inc(len(data or b""))
        return data

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Returns `length` bytes from `offset`. Raises DataLoss when the object is missing or ends before that."""
        if length == 0:
            return b""

        def attempt() -> bytes | None:
            try:
                return _or_none(lambda: self._get(key, offset, length))
            except S3Error as error:
                if error.code == "InvalidRange" or error.response.status == 416:
                    return b""
                raise

        data = self._s3.patiently("get", key, attempt)
        if data is None or len(data) != length:
            found = "no such object" if data is None else f"{len(data)} bytes"
            raise DataLoss(f"{key}: expected {length} bytes at {offset}, the store has {found}")
        METRICS.s3_bytes.labels("get").inc(length)
        return data

    def get_file(self, key: str, path: Path) -> tuple[int, str] | None:
        """Copies an object to a file; returns its size and hex sha256, or None when there is no such object."""
        copied = self._s3.patiently("get", key, lambda: _or_none(lambda: self._copy(key, path)))
        METRICS.s3_bytes.labels("get").inc(copied[0] if copied else 0)
        return copied

    def _get(self, key: str, offset: int, length: int) -> bytes:
        response = self._client.get_object(self._bucket, key, offset=offset, length=length)
        try:
            return response.read()
        finally:
            response.close()
            response.release_conn()

    def _copy(self, key: str, path: Path) -> tuple[int, str]:
        response = self._client.get_object(self._bucket, key)
        digest, size = hashlib.sha256(), 0
        try:
            with path.open("wb") as file:
                for block in response.stream(_BLOCK):
                    file.write(block)
                    digest.update(block)
                    size += len(block)
        finally:
            response.close()
            response.release_conn()
        return size, digest.hexdigest()

    def size(self, key: str) -> int | None:
        """Returns an object's size in bytes, or None when there is none."""
        stat = self._s3.patiently("head", key, lambda: _or_none(lambda: self._client.stat_object(self._bucket, key)))
        return None if stat is None else stat.size or 0

    def list(self, prefix: str) -> Sequence["Listed"]:
        """Returns every object under a prefix. For sweeping and for our own records; readers never list."""

        def attempt() -> list[Listed]:
            found = self._client.list_objects(self._bucket, prefix=prefix, recursive=True)
            return [_listed(o) for o in found]

        return self._s3.patiently("list", prefix, attempt)

    def folders(self, prefix: str) -> Sequence[str]:
        """Returns the names that follow a prefix, each up to its "/" and once."""

        def attempt() -> list[str]:
            found = self._client.list_objects(self._bucket, prefix=prefix)
            return [(o.object_name or "").removeprefix(prefix).rstrip("/") for o in found if o.is_dir]

        return self._s3.patiently("list", prefix, attempt)

    # ----------------------------------------------------------------- delete

    def delete(self, keys: Sequence[str]) -> None:
        """Removes objects; those that are gone already count as removed."""
        if not keys:
            return

        def attempt() -> None:
            wanted = [DeleteObject(key) for key in keys]
            failed = [e for e in self._client.remove_objects(self._bucket, wanted) if e.code not in _ABSENT]
            if failed:
                raise Incomplete(f"{len(failed)} of {len(keys)} objects stayed: {failed[0].code} {failed[0].message}")

        self._s3.patiently("delete", keys[0], attempt)

    def abort_uploads(self, prefix: str) -> int:
        """Aborts unfinished multipart uploads under a prefix; returns how many."""

        def attempt() -> int:
            uploads = self._client._list_multipart_uploads(self._bucket, prefix=prefix).uploads
            ours = [u for u in uploads if (u.object_name or "").startswith(prefix) and u.upload_id]
            for upload in ours:
                self._abort(upload.object_name or "", upload.upload_id or "")
            return len(ours)

        return self._s3.patiently("list", prefix, attempt)


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as a listing shows it; `version` changes whenever it is written.

    `etag` is of its content: of a small object most stores' md5.
    """

    key: str
    size_bytes: int
    version: str
    etag: str
    modified: float = 0.0
    """Seconds since the epoch by the store's clock."""


class _UploadLost(Exception):
    """The store no longer knows a multipart upload."""


def _listed(found: Any) -> "Listed":
    modified = found.last_modified.timestamp() if found.last_modified is not None else 0.0
    etag = found.etag or ""
    return Listed(found.object_name or "", found.size or 0, f"{etag} {found.last_modified}", etag, modified)


def _or_none(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except S3Error as error:
        if error.code in _ABSENT:
            return None
        raise
