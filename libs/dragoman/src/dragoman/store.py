"""The object store: S3 through the minio client, with conditional commits and verified reads.

Calls block; servers make them through `asyncio.to_thread`. A client of this class may be shared by threads.
"""

import hashlib
import io
import json
import random
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import urllib3
from minio import Minio
from minio.datatypes import Object
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from dragoman.artifacts import Manifest, PartInfo
from dragoman.errors import FailedPrecondition, TransientTaskError, Unavailable
from dragoman.ids import kind_of
from dragoman.kinds import Part
from dragoman.manifests import manifest_from_json, manifest_to_json
from dragoman.stored import StoredArtifact

T = TypeVar("T")
_MULTIPART = 32 << 20
_MISSING = {"NoSuchKey", "NoSuchBucket", "NotFound", "ResourceNotFound"}
_DENIED = {"AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId", "UnauthorizedAccess"}
_AGAIN = {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "OperationAborted"}


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where the store is. `patience` is how long an operation is retried while it is away, in seconds."""

    endpoint: str = "127.0.0.1:8333"
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    bucket: str = "dragoman"
    secure: bool = False
    region: str = "us-east-1"
    patience: float = 45.0


class Store:
    """Objects and artifacts in one bucket."""

    def __init__(self, config: StoreConfig) -> None:
        self.config = config
        self._client = Minio(
            config.endpoint,
            access_key=config.access_key or None,
            secret_key=config.secret_key or None,
            secure=config.secure,
            region=config.region,
            http_client=urllib3.PoolManager(
                timeout=urllib3.Timeout(connect=5, read=60), maxsize=16, retries=urllib3.Retry(0, redirect=2)
            ),
        )

    # ------------------------------------------------------------------- probe

    def probe(self) -> None:
        """Makes the bucket if there is none, and proves that conditional writes are honoured.

        Raises Unavailable when the store cannot be reached or refuses us, FailedPrecondition when it ignores
        `If-None-Match`: two workers could then commit one artifact twice.
        """
        self._ensure_bucket()
        key = f"probe/{uuid.uuid4().hex}"
        first, second = self.put_if_absent(key, b"1"), self.put_if_absent(key, b"2")
        self.delete([key])
        if not first or second:
            raise FailedPrecondition(
                f"the object store at {self.config.endpoint} ignores `If-None-Match: *` on PUT, so commits would not be "
                "atomic; use MinIO of 2024 or later, SeaweedFS, AWS S3 or another store that honours it"
            )

    def _ensure_bucket(self) -> None:
        def make() -> None:
            if self._client.bucket_exists(self.config.bucket):
                return
            try:
                self._client.make_bucket(self.config.bucket)
            except S3Error as error:
                if error.code not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                    raise

        self._patiently(make)

    # ----------------------------------------------------------------- objects

    def put_file(self, key: str, path: Path) -> tuple[int, str]:
        """Uploads a file, in parts when it is large. Returns its size in bytes and sha256."""
        size = path.stat().st_size
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()

        def put() -> None:
            with path.open("rb") as file:
                self._client.put_object(self.config.bucket, key, file, size, part_size=_MULTIPART)

        self._patiently(put)
        return size, sha256

    def put_bytes(self, key: str, data: bytes) -> None:
        """Writes an object, over whatever is there."""
        self._patiently(lambda: self._client.put_object(self.config.bucket, key, io.BytesIO(data), len(data)))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Writes an object unless there is one. False when there is."""

        def put() -> bool:
            try:
                execute: Any = self._client._execute  # pyright: ignore[reportPrivateUsage]  put_object takes no such header
                execute("PUT", self.config.bucket, key, body=data, headers={"If-None-Match": "*"})
            except S3Error as error:
                if error.code == "PreconditionFailed" or _status(error) == 412:
                    return False
                raise
            return True

        return self._patiently(put)

    def get_bytes(self, key: str) -> bytes | None:
        """Returns an object, or None when there is none."""
        return self._patiently(lambda: self._get(key, 0, 0))

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Returns a range of an object with one request. Raises Unavailable when there is no such object."""
        if length == 0:
            return b""
        data = self._patiently(lambda: self._get(key, offset, length))
        if data is None:
            raise Unavailable(f"object {key} is gone from the store", reason="OBJECT_MISSING")
        return data

    def _get(self, key: str, offset: int, length: int) -> bytes | None:
        response = None
        try:
            response = self._client.get_object(self.config.bucket, key, offset=offset, length=length)
            return response.read()
        except S3Error as error:
            if error.code in _MISSING:
                return None
            raise
        finally:
            if response is not None:
                response.close()
                response.release_conn()

    def get_file(self, key: str, path: Path) -> bool:
        """Streams an object into a file. False when there is no such object."""

        def fetch() -> bool:
            response = None
            try:
                response = self._client.get_object(self.config.bucket, key)
                with path.open("wb") as file:
                    for chunk in response.stream(1 << 20):
                        file.write(chunk)
                return True
            except S3Error as error:
                if error.code in _MISSING:
                    return False
                raise
            finally:
                if response is not None:
                    response.close()
                    response.release_conn()

        return self._patiently(fetch)

    def exists(self, key: str) -> bool:
        """True when there is an object."""

        def stat() -> bool:
            try:
                self._client.stat_object(self.config.bucket, key)
            except S3Error as error:
                if error.code in _MISSING or _status(error) == 404:
                    return False
                raise
            return True

        return self._patiently(stat)

    def list(self, prefix: str) -> Sequence[Object]:
        """Returns what lies under a prefix. For corpora and cleaning only: readers of artifacts trust manifests."""
        return self._patiently(
            lambda: [
                item
                for item in self._client.list_objects(self.config.bucket, prefix=prefix, recursive=True)
                if not item.is_dir
            ]
        )

    def delete(self, keys: Sequence[str]) -> None:
        """Removes objects; those that are gone already are no error."""
        if keys:
            self._patiently(
                lambda: [
                    error
                    for error in self._client.remove_objects(self.config.bucket, (DeleteObject(k) for k in keys))
                ]
            )

    def delete_prefix(self, prefix: str) -> None:
        """Removes everything under a prefix."""
        self.delete([str(item.object_name) for item in self.list(prefix)])

    # --------------------------------------------------------------- artifacts

    def put_part(self, artifact_id: str, part: Part, stage: int, task_index: int) -> PartInfo:
        """Uploads a part under a key made of its content, so that no other attempt can overwrite it."""
        path, data = part.path, part.data
        if path is not None:
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            key, size = _part_key(artifact_id, part.name, sha256), path.stat().st_size
            self.put_file(key, path)
        else:
            assert data is not None, f"part {part.name} has neither path nor data"
            sha256 = hashlib.sha256(data).hexdigest()
            key, size = _part_key(artifact_id, part.name, sha256), len(data)
            self.put_bytes(key, data)
        return PartInfo(
            part.name, key, size, sha256, part.row_count, part.metadata, stage, task_index, part.keep
        )

    def commit(self, manifest: Manifest) -> Manifest:
        """Writes a manifest if there is none, and returns the one that counts: the first."""
        if self.put_if_absent(_manifest_key(manifest.id), manifest_to_json(manifest)):
            return manifest
        committed = self.manifest(manifest.id)
        assert committed is not None, "a manifest that is there can be read"
        return committed

    def manifest(self, artifact_id: str) -> Manifest | None:
        """Returns a committed manifest, or None."""
        data = self.get_bytes(_manifest_key(artifact_id))
        return None if data is None else manifest_from_json(data)

    def artifact(self, artifact_id: str) -> StoredArtifact:
        """Opens a committed artifact. Raises Unavailable when it is not committed."""
        manifest = self.manifest(artifact_id)
        if manifest is None:
            raise Unavailable(f"artifact {artifact_id} is not committed", reason="NOT_COMMITTED")
        return StoredArtifact(self, manifest)

    def uncommitted(self, artifact_id: str, parts: Sequence[PartInfo]) -> StoredArtifact:
        """Opens the parts that a job's own earlier tasks made."""
        return StoredArtifact(self, Manifest(artifact_id, kind_of(artifact_id), 0, {}, {}, parts, {}))

    def sweep(self, artifact_id: str, manifest: Manifest) -> None:
        """Removes what lies beside a committed artifact and is not listed by its manifest."""
        kept = {part.key for part in manifest.parts} | {_manifest_key(artifact_id)}
        self.delete([str(o.object_name) for o in self.list(f"{_folder(artifact_id)}/") if o.object_name not in kept])

    # ------------------------------------------------- receipts and checkpoints

    def put_receipt(self, job_id: str, task_id: str, receipt: object) -> bool:
        """Notes that a task is done. The first note counts; False when there was one."""
        return self.put_if_absent(f"receipts/{job_id}/{task_id}.json", json.dumps(receipt, sort_keys=True).encode())

    def list_receipts(self, job_id: str) -> Sequence[Any]:
        """Returns all receipts of a job."""
        found = [self.get_bytes(str(item.object_name)) for item in self.list(f"receipts/{job_id}/")]
        return [json.loads(data) for data in found if data is not None]

    def delete_receipts(self, job_id: str) -> None:
        """Forgets the receipts of a committed job."""
        self.delete_prefix(f"receipts/{job_id}/")

    def put_checkpoint(self, job_id: str, task_id: str, path: Path) -> None:
        """Keeps a task's newest checkpoint; one object, so that it is whole or not there."""
        self.put_file(f"checkpoints/{job_id}/{task_id}", path)

    def get_checkpoint(self, job_id: str, task_id: str, folder: Path) -> Path | None:
        """Returns a local copy of a task's newest checkpoint, or None."""
        path = folder / f"checkpoint-{task_id}"
        return path if self.get_file(f"checkpoints/{job_id}/{task_id}", path) else None

    def delete_checkpoints(self, job_id: str) -> None:
        """Forgets the checkpoints of a committed job."""
        self.delete_prefix(f"checkpoints/{job_id}/")

    # ---------------------------------------------------------------- patience

    def _patiently(self, operation: Callable[[], T]) -> T:
        """Runs an operation that is safe to repeat, with jitter, while the store is away.

        Raises TransientTaskError when it stays away, Unavailable when it refuses our credentials.
        """
        started = time.monotonic()
        for pause in _pauses():
            try:
                return operation()
            except S3Error as error:
                if error.code in _DENIED:
                    raise Unavailable(
                        f"the object store at {self.config.endpoint} refuses our credentials ({error.code}); "
                        "set DRAGOMAN_S3_ACCESS_KEY and DRAGOMAN_S3_SECRET_KEY"
                    ) from error
                if error.code not in _AGAIN and (_status(error) or 0) < 500 and _status(error) != 409:
                    raise
                cause: Exception = error
            except (HTTPError, MinioException, OSError) as error:
                cause = error
            if time.monotonic() - started > self.config.patience:
                raise TransientTaskError(
                    f"the object store at {self.config.endpoint} cannot be reached ({_short(cause)}); start it, or set "
                    "DRAGOMAN_S3_ENDPOINT",
                    reason="STORE_UNAVAILABLE",
                ) from cause
            time.sleep(pause)
        raise AssertionError("unreachable")


def _pauses() -> Iterator[float]:
    base = 0.1
    while True:
        yield random.uniform(0.5, 1.0) * base
        base = min(3.0, base * 2)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"


def _status(error: S3Error) -> int | None:
    response: Any = getattr(error, "response", None) or getattr(error, "_response", None)
    return getattr(response, "status", None)


def _folder(artifact_id: str) -> str:
    return f"artifacts/{kind_of(artifact_id)}/{artifact_id}"


def _manifest_key(artifact_id: str) -> str:
    return f"{_folder(artifact_id)}/manifest.json"


def _part_key(artifact_id: str, name: str, sha256: str) -> str:
    stem, dot, extension = name.rpartition(".")
    return f"{_folder(artifact_id)}/{stem if dot else name}-{sha256[:16]}{dot}{extension if dot else ''}"
