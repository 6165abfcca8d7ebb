"""Jobs, events, failures and manifests as messages, both ways."""

import datetime
from typing import TypeVar

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from dragoman.artifact.v1 import artifact_pb2
from dragoman.artifacts import Manifest, PartInfo
from dragoman.errors import DragomanError, FailureClass
from dragoman.job.v1 import job_pb2, job_service_pb2
from dragoman.jobs import DeadLetter, EventType, Failure, JobEvent, JobProgress, JobRecord, JobState, LogLine
from dragoman.rpc._structs import seconds, struct_dict, struct_message, timestamp

E = TypeVar("E", JobState, EventType, FailureClass)


def _name(wrapper: EnumTypeWrapper, prefix: str, number: int, type_: type[E]) -> E:
    """Returns our enum's member for a protobuf number. Raises DragomanError for one that is newer than we are."""
    try:
        return type_[wrapper.Name(number).removeprefix(prefix)]
    except (ValueError, KeyError) as error:
        raise DragomanError(
            f"the server answered with {type_.__name__} number {number}, which this client does not know; "
            "update the client to the server's version (`dragoman info` prints both)",
            reason="VERSION_SKEW",
        ) from error


def state_message(state: JobState) -> str:
    """Returns the protobuf name of a state, which every message accepts as the value."""
    return f"JOB_STATE_{state.name}"


def state_record(number: int) -> JobState:
    """Returns the state of a protobuf value."""
    return _name(job_pb2.JobState, "JOB_STATE_", number, JobState)


# --------------------------------------------------------------------- jobs


def progress_message(progress: JobProgress) -> job_pb2.Progress:
    """Returns a Progress message."""
    return job_pb2.Progress(
        stage=progress.stage,
        stage_index=progress.stage_index,
        stage_count=progress.stage_count,
        done_count=progress.done_count,
        total_count=progress.total_count,
        fraction=progress.fraction,
        units_done=progress.units_done,
        units_total=progress.units_total,
        unit=progress.unit,
        rate=progress.rate,
        message=progress.message,
        metrics=dict(progress.metrics),
    )


def progress_record(message: job_pb2.Progress) -> JobProgress:
    """Returns the JobProgress of a Progress message."""
    return JobProgress(
        stage=message.stage,
        stage_index=message.stage_index,
        stage_count=message.stage_count,
        done_count=message.done_count,
        total_count=message.total_count,
        fraction=message.fraction,
        units_done=message.units_done,
        units_total=message.units_total,
        unit=message.unit,
        rate=message.rate,
        message=message.message,
        metrics=dict(sorted(message.metrics.items())),
    )


def failure_message(failure: Failure) -> job_pb2.Failure:
    """Returns a Failure message."""
    return job_pb2.Failure(
        reason=failure.reason,
        message=failure.message,
        failure_class=f"FAILURE_CLASS_{failure.failure_class.name}",
        task_id=failure.task_id,
        attempt_count=failure.attempt_count,
        debug=failure.debug,
    )


def failure_record(message: job_pb2.Failure) -> Failure:
    """Returns the Failure of a Failure message."""
    return Failure(
        reason=message.reason,
        message=message.message,
        failure_class=_name(job_pb2.FailureClass, "FAILURE_CLASS_", message.failure_class, FailureClass),
        task_id=message.task_id,
        attempt_count=message.attempt_count,
        debug=message.debug,
    )


def job_message(job: JobRecord) -> job_pb2.Job:
    """Returns a Job message. The payloads of planned stages stay inside."""
    return job_pb2.Job(
        id=job.id,
        kind=job.kind,
        service=job.service,
        state=state_message(job.state),
        spec=struct_message(job.spec),
        inputs=dict(job.inputs),
        progress=progress_message(job.progress),
        failure=failure_message(job.failure) if job.failure else None,
        failed_count=job.failed_count,
        create_time=timestamp(job.create_time),
        start_time=timestamp(job.start_time),
        end_time=timestamp(job.end_time),
        waiting_for=list(job.waiting_for),
        revision=job.revision,
        retry_count=job.retry_count,
        queue_position=job.queue_position,
        principal=job.principal,
        namespace=job.namespace,
        stored_bytes=job.stored_bytes,
        llm_tokens=job.llm_tokens,
    )


def job_record(message: job_pb2.Job) -> JobRecord:
    """Returns the JobRecord of a Job message; `stages`, which no message carries, is empty."""
    return JobRecord(
        id=message.id,
        kind=message.kind,
        service=message.service,
        state=state_record(message.state),
        spec=struct_dict(message.spec),
        inputs=dict(sorted(message.inputs.items())),
        waiting_for=tuple(message.waiting_for),
        stage_index=message.progress.stage_index,
        failure=failure_record(message.failure) if message.HasField("failure") else None,
        failed_count=message.failed_count,
        retry_count=message.retry_count,
        create_time=seconds(message.create_time),
        start_time=seconds(message.start_time),
        end_time=seconds(message.end_time),
        progress=progress_record(message.progress),
        revision=message.revision,
        queue_position=message.queue_position,
        principal=message.principal,
        namespace=message.namespace,
        stored_bytes=message.stored_bytes,
        llm_tokens=message.llm_tokens,
    )


# ------------------------------------------------------------------- events


def event_message(event: JobEvent) -> job_pb2.JobEvent:
    """Returns a JobEvent message."""
    return job_pb2.JobEvent(
        cursor=event.cursor,
        job_id=event.job_id,
        kind=event.kind,
        type=f"EVENT_TYPE_{event.type.name}",
        event_time=timestamp(event.time),
        state=state_message(event.state) if event.type is not EventType.HEARTBEAT else None,
        progress=progress_message(event.progress) if event.progress else None,
        task_id=event.task_id,
        failure=failure_message(event.failure) if event.failure else None,
        message=event.message,
    )


def event_record(message: job_pb2.JobEvent) -> JobEvent:
    """Returns the JobEvent of a message. A heartbeat has no state of its own and reads as WAITING."""
    type_ = _name(job_pb2.EventType, "EVENT_TYPE_", message.type, EventType)
    return JobEvent(
        job_id=message.job_id,
        kind=message.kind,
        type=type_,
        state=JobState.WAITING if type_ is EventType.HEARTBEAT else state_record(message.state),
        time=seconds(message.event_time),
        cursor=message.cursor,
        progress=progress_record(message.progress) if message.HasField("progress") else None,
        task_id=message.task_id,
        failure=failure_record(message.failure) if message.HasField("failure") else None,
        message=message.message,
    )


def dead_letter_message(letter: DeadLetter) -> job_service_pb2.DeadLetter:
    """Returns a DeadLetter message."""
    return job_service_pb2.DeadLetter(
        job_id=letter.job_id,
        task_id=letter.task_id,
        failure=failure_message(letter.failure),
        dead_time=timestamp(letter.time),
    )


def dead_letter_record(message: job_service_pb2.DeadLetter) -> DeadLetter:
    """Returns the DeadLetter of a message."""
    return DeadLetter(message.job_id, message.task_id, failure_record(message.failure), seconds(message.dead_time))


def log_line_message(line: LogLine) -> job_service_pb2.LogLine:
    """Returns a LogLine message."""
    return job_service_pb2.LogLine(
        log_time=timestamp(line.time),
        level=line.level,
        task_id=line.task_id,
        attempt=line.attempt,
        logger=line.logger,
        message=line.message,
        error=line.error,
    )


def log_line_record(message: job_service_pb2.LogLine) -> LogLine:
    """Returns the LogLine of a message."""
    return LogLine(
        seconds(message.log_time),
        message.level,
        message.task_id,
        message.attempt,
        message.logger,
        message.message,
        message.error,
    )


# ---------------------------------------------------------------- manifests


def _part_message(part: PartInfo) -> artifact_pb2.Part:
    return artifact_pb2.Part(
        name=part.name,
        key=part.key,
        size_bytes=part.size_bytes,
        sha256=part.sha256,
        row_count=part.row_count,
        metadata=struct_message(part.metadata),
    )


def _part_record(message: artifact_pb2.Part) -> PartInfo:
    return PartInfo(
        name=message.name,
        key=message.key,
        size_bytes=message.size_bytes,
        sha256=message.sha256,
        row_count=message.row_count,
        metadata=struct_dict(message.metadata),
    )


def manifest_message(manifest: Manifest) -> artifact_pb2.Manifest:
    """Returns a Manifest message. Raises ValueError when commit_time is neither empty nor ISO 8601."""
    time = datetime.datetime.fromisoformat(manifest.commit_time).timestamp() if manifest.commit_time else 0.0
    return artifact_pb2.Manifest(
        id=manifest.id,
        kind=manifest.kind,
        semantics_version=manifest.semantics_version,
        spec=struct_message(manifest.spec),
        inputs=dict(manifest.inputs),
        parts=[_part_message(part) for part in manifest.parts],
        statistics=struct_message(manifest.statistics),
        failed_count=manifest.failed_count,
        commit_time=timestamp(time),
        software=dict(manifest.software),
        cost=dict(manifest.cost),
        namespace=manifest.namespace,
    )


def manifest_record(message: artifact_pb2.Manifest) -> Manifest:
    """Returns the Manifest of a message; commit_time is ISO 8601 in UTC."""
    time = seconds(message.commit_time)
    return Manifest(
        id=message.id,
        kind=message.kind,
        semantics_version=message.semantics_version,
        spec=struct_dict(message.spec),
        inputs=dict(sorted(message.inputs.items())),
        parts=tuple(_part_record(part) for part in message.parts),
        statistics=struct_dict(message.statistics),
        failed_count=message.failed_count,
        commit_time=datetime.datetime.fromtimestamp(time, datetime.UTC).isoformat() if time else "",
        software=dict(sorted(message.software.items())),
        cost=dict(sorted(message.cost.items())),
        namespace=message.namespace,
    )
