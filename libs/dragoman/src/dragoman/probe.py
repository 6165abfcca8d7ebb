"""What a store must prove before anything relies on it."""

import logging
import uuid

from minio.commonconfig import ENABLED, Filter
from minio.error import MinioException, S3Error
from minio.lifecycleconfig import AbortIncompleteMultipartUpload, LifecycleConfig, Rule
from urllib3.exceptions import HTTPError

from dragoman.errors import FailedPrecondition
from dragoman.objects import Objects
from dragoman.s3 import S3

_LOG = logging.getLogger(__name__)


def probe(s3: S3, objects: Objects) -> None:
    """Makes the bucket if it is missing and proves that the store honours conditional puts.

    Raises Unavailable when the store is away or refuses our keys, FailedPrecondition when two writers of one object
    could both be told that they won.
    """
    s3.patiently("probe", s3.bucket, lambda: _make_bucket(s3))
    key = f"probe/{uuid.uuid4().hex}"
    try:
        first = objects.put_if_absent(key, b"first")
        second = objects.put_if_absent(key, b"second")
        kept = objects.get_bytes(key)
    except S3Error as error:
        raise _no_conditional_put(s3, f"it answered {error.code}: {error.message}") from error
    finally:
        _forget(s3, key)
    if (first, second, kept) != (True, False, b"first"):
        raise _no_conditional_put(s3, f"a second If-None-Match put of one key succeeded ({kept!r})")


def _make_bucket(s3: S3) -> None:
    if s3.client.bucket_exists(s3.bucket):
        return
    try:
        s3.client.make_bucket(s3.bucket)
    except S3Error as error:
        if error.code not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
            raise
    abort = AbortIncompleteMultipartUpload(days_after_initiation=7)
    rule = Rule(ENABLED, rule_filter=Filter(prefix=""), rule_id="abort", abort_incomplete_multipart_upload=abort)
    try:
        s3.client.set_bucket_lifecycle(s3.bucket, LifecycleConfig([rule]))
    except (MinioException, HTTPError) as error:
        _LOG.info("the store keeps unfinished uploads until a sweep: it has no lifecycle rules (%s)", error)


def _forget(s3: S3, key: str) -> None:
    try:
        s3.client.remove_object(s3.bucket, key)
    except (MinioException, HTTPError, OSError) as error:
        _LOG.info("probe object %s stayed: %s", key, error)


def _no_conditional_put(s3: S3, what: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"the object store at {s3.where} does not honour `If-None-Match: *` on PUT, without which an artifact could "
        f"be committed twice: {what}. Use SeaweedFS 4, MinIO from 2024 on, Ceph or AWS S3",
        reason="NO_CONDITIONAL_PUT",
    )
