"""MaintenanceService: checks what a request may ask, has it done, converts the answer."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import grpc.aio
from google.protobuf.duration_pb2 import Duration

from dragoman.errors import InvalidSpec
from dragoman.garbage import Garbage
from dragoman.ids import kind_of
from dragoman.job.v1 import maintenance_service_pb2 as pb
from dragoman.job.v1 import maintenance_service_pb2_grpc
from dragoman.maintenance import Maintenance
from dragoman.rpc.interceptors import Context

DEFAULT_AGE = 7 * 86_400.0
MINIMUM_AGE = 1.0
SERVICE_NAME = pb.DESCRIPTOR.services_by_name["MaintenanceService"].full_name
_NAMED = 20


class MaintenanceServicer(maintenance_service_pb2_grpc.MaintenanceServiceServicer):
    """dragoman.job.v1.MaintenanceService."""

    def __init__(self, maintenance: Maintenance) -> None:
        self._maintenance = maintenance

    async def CollectGarbage(self, request: pb.CollectGarbageRequest, context: Context) -> pb.CollectGarbageResponse:
        """Tells, and removes when asked to, what is not needed."""
        age = _age(request.older_than, "older_than") if request.HasField("older_than") else DEFAULT_AGE
        given = request.HasField("answers_older_than")
        answers = _age(request.answers_older_than, "answers_older_than") if given else None
        found = await self._maintenance.collect_garbage(age, request.delete, answers)
        return pb.CollectGarbageResponse(garbage=_by_reason(found))

    async def DeleteArtifact(self, request: pb.DeleteArtifactRequest, context: Context) -> pb.DeleteArtifactResponse:
        """Removes an artifact and its job's record."""
        kind_of(request.artifact_id, field="artifact_id")
        count = await self._maintenance.delete_artifact(request.artifact_id, request.force)
        return pb.DeleteArtifactResponse(object_count=count)

    async def RebuildJobs(self, request: pb.RebuildJobsRequest, context: Context) -> pb.RebuildJobsResponse:
        """Makes records of committed artifacts that have none."""
        rebuilt = await self._maintenance.rebuild_jobs()
        return pb.RebuildJobsResponse(job_ids=rebuilt.job_ids, artifact_count=rebuilt.artifact_count)


def _age(duration: Duration, field: str) -> float:
    seconds = duration.ToTimedelta().total_seconds()
    if seconds < MINIMUM_AGE:
        raise InvalidSpec(f"{seconds:g} s is too short; expected at least {MINIMUM_AGE:g} s", field=field)
    return seconds


def _by_reason(found: Sequence[Garbage]) -> Sequence[pb.Garbage]:
    groups: dict[str, list[Garbage]] = defaultdict(list)
    for garbage in found:
        groups[garbage.reason].append(garbage)
    return [
        pb.Garbage(
            reason=reason,
            object_count=sum(len(g.objects) for g in of_reason),
            size_bytes=sum(g.size_bytes for g in of_reason),
            job_ids=[g.job_id for g in of_reason if g.job_id][:_NAMED],
        )
        for reason, of_reason in groups.items()
    ]


def mount(server: grpc.aio.Server, servicer: MaintenanceServicer) -> None:
    """Adds the servicer."""
    generated: Any = maintenance_service_pb2_grpc
    generated.add_MaintenanceServiceServicer_to_server(servicer, server)
