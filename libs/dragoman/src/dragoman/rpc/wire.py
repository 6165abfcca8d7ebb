"""Events as the bytes that travel through the event log."""

from dataclasses import replace

from dragoman.job.v1 import job_pb2
from dragoman.jobs import JobEvent
from dragoman.rpc.convert import event_message, event_record


def event_to_bytes(event: JobEvent) -> bytes:
    """Returns a dragoman.job.v1.JobEvent."""
    return event_message(event).SerializeToString()


def event_from_bytes(data: bytes, cursor: int) -> JobEvent:
    """Returns the event of a log entry, with the cursor it lies at."""
    return replace(event_record(job_pb2.JobEvent.FromString(data)), cursor=cursor)
