"""What lies on JetStream: four streams and five buckets, every limit written out."""

from collections.abc import Sequence

from nats.js.api import DiscardPolicy, KeyValueConfig, RetentionPolicy, StorageType, StreamConfig

from dragoman.errors import FailedPrecondition

_DAY = 86_400.0
_TOLD_ONCE = 900.0
"""Seconds for which a log refuses a fact that it was told: longer than a task of a dead worker waits for another."""
_MIB = 1 << 20
_ADVISORY = "$JS.EVENT.ADVISORY.CONSUMER"


def streams(namespace: str, replicas: int) -> Sequence[StreamConfig]:
    """TASKS is the work queue; EVENTS, DEAD and ADVISORIES are logs."""
    tasks = f"{namespace}_TASKS"
    return [
        StreamConfig(
            name=tasks,
            subjects=[f"{namespace}.tasks.>"],
            retention=RetentionPolicy.WORK_QUEUE,
            discard=DiscardPolicy.NEW,
            discard_new_per_subject=True,
            max_msgs_per_subject=1,
            max_bytes=1024 * _MIB,
            storage=StorageType.FILE,
            num_replicas=replicas,
        ),
        _log(f"{namespace}_EVENTS", [f"{namespace}.events.>"], 14, 1024, replicas),
        _log(f"{namespace}_DEAD", [f"{namespace}.dead.>"], 30, 256, replicas),
        _log(
            f"{namespace}_ADVISORIES",
            [f"{_ADVISORY}.MAX_DELIVERIES.{tasks}.>", f"{_ADVISORY}.MSG_TERMINATED.{tasks}.>"],
            7,
            64,
            replicas,
        ),
    ]


def _log(name: str, subjects: list[str], days: int, mebibytes: int, replicas: int) -> StreamConfig:
    return StreamConfig(
        name=name,
        subjects=subjects,
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.OLD,
        max_age=days * _DAY,
        duplicate_window=_TOLD_ONCE,
        max_bytes=mebibytes * _MIB,
        storage=StorageType.FILE,
        num_replicas=replicas,
    )


def buckets(namespace: str, replicas: int, lease: float) -> Sequence[KeyValueConfig]:
    """Buckets: jobs; requests, for a week; attempts by task; leases of running tasks, in seconds; waits by input."""
    ttl = {"requests": 7 * _DAY, "running": lease}
    return [
        KeyValueConfig(
            bucket=f"{namespace}_{name}",
            history=1,
            ttl=ttl.get(name),
            max_bytes=512 * _MIB,
            storage=StorageType.FILE,
            replicas=replicas,
        )
        for name in ("jobs", "requests", "attempts", "running", "waits")
    ]


def no_room(url: str, namespace: str) -> FailedPrecondition:
    """Returns what to say where JetStream cannot set aside the bounds of streams and buckets."""
    bounds = [each.max_bytes or 0 for each in (*streams(namespace, 1), *buckets(namespace, 1, 1.0))]
    return FailedPrecondition(
        f"NATS at {url} has no room for the streams of namespace {namespace!r}, which reserve "
        f"{sum(bounds) / 2**30:.1f} GiB in all: raise `max_file` of its `jetstream` block, or free its disk",
        reason="NATS_STORAGE",
    )
