"""What lies in the store and is needed by nothing. Decides only; see `dragoman.maintenance` for who removes it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dragoman.jobs import JobRecord
from dragoman.manifests import MANIFEST_NAME
from dragoman.objects import Listed

ENDED = "of jobs that failed or were cancelled; a retry begins anew"
UNKNOWN = "of no job that is known"
BESIDE = "beside committed artifacts"
ANSWERS = "language-model answers; asked again, they are paid again"

PREFIXES = ("artifacts/", "receipts/", "checkpoints/", "logs/")


@dataclass(frozen=True, slots=True)
class Garbage:
    """Objects of one job that are not needed, and why."""

    reason: str
    job_id: str
    objects: Sequence[Listed]

    @property
    def size_bytes(self) -> int:
        """Bytes of all of them."""
        return sum(item.size_bytes for item in self.objects)


def job_of(key: str) -> str:
    """Returns the job that an object under one of PREFIXES belongs to; empty when it is none of ours."""
    pieces = key.split("/")
    place = {"artifacts": 2, "receipts": 1, "checkpoints": 1, "logs": 1}.get(pieces[0], len(pieces))
    return pieces[place] if place < len(pieces) - 1 else ""


def by_job(objects: Iterable[Listed]) -> Mapping[str, Sequence[Listed]]:
    """Groups objects by the job they belong to; those that are none of ours are left out."""
    groups: dict[str, list[Listed]] = defaultdict(list)
    for item in objects:
        if job_of(item.key):
            groups[job_of(item.key)].append(item)
    return groups


def is_committed(objects: Sequence[Listed]) -> bool:
    """True when a manifest is among a job's objects."""
    return any(item.key.startswith("artifacts/") and item.key.endswith(f"/{MANIFEST_NAME}") for item in objects)


def find_garbage(
    groups: Mapping[str, Sequence[Listed]],
    jobs: Mapping[str, JobRecord],
    listed_keys: Mapping[str, frozenset[str]],
    before: float,
) -> Iterator[Garbage]:
    """Yields what is not needed of each job's objects.

    Args:
        groups: Objects by job.
        jobs: Every job that is known.
        listed_keys: For each committed job, its manifest's key and the keys that it lists.
        before: Seconds since the epoch; what changed later is left alone, whatever it is.
    """
    for job_id, objects in groups.items():
        job = jobs.get(job_id)
        if job is not None and not job.state.terminal:
            continue
        if job_id in listed_keys:
            kept = listed_keys[job_id]
            reason, found = BESIDE, [i for i in objects if i.key not in kept and not i.key.startswith("logs/")]
        elif is_committed(objects):  # committed a moment ago
            continue
        else:
            reason, found = (UNKNOWN if job is None else ENDED), list(objects)
        newest = max([item.modified for item in found] + ([job.end_time] if job is not None else []), default=0.0)
        if found and newest < before:
            yield Garbage(reason, job_id, found)
