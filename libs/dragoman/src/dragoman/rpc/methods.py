"""The methods that a client calls: their paths and messages, and the typed Submit method of each job kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from dragoman.activation.v1 import activation_pb2
from dragoman.artifact.v1 import artifact_pb2
from dragoman.errors import InvalidSpec
from dragoman.explanation.v1 import explanation_pb2
from dragoman.job.v1 import job_service_pb2, maintenance_service_pb2
from dragoman.nearest import suggestion
from dragoman.scoring.v1 import scoring_pb2
from dragoman.training.v1 import training_pb2

Req = TypeVar("Req", bound=Message)
Resp = TypeVar("Resp", bound=Message)

SERVICES = ("activation", "sae-trainer", "explainer", "scorer")
"""Names of the services, in the order of the pipeline."""


@dataclass(frozen=True, slots=True)
class Method(Generic[Req, Resp]):
    """One remote method."""

    path: str
    request: type[Req]
    response: type[Resp]
    idempotent: bool = True
    """True when a call whose answer was lost may be made again."""

    @property
    def name(self) -> str:
        """Service and method, as errors name it."""
        return self.path.lstrip("/")


_JOB = "/dragoman.job.v1.JobService/"
_MAINTENANCE = "/dragoman.job.v1.MaintenanceService/"
_ARTIFACT = "/dragoman.artifact.v1.ArtifactService/"

GET_JOB = Method(_JOB + "GetJob", job_service_pb2.GetJobRequest, job_service_pb2.GetJobResponse)
LIST_JOBS = Method(_JOB + "ListJobs", job_service_pb2.ListJobsRequest, job_service_pb2.ListJobsResponse)
WATCH_JOBS = Method(_JOB + "WatchJobs", job_service_pb2.WatchJobsRequest, job_service_pb2.WatchJobsResponse)
WAIT_JOB = Method(_JOB + "WaitJob", job_service_pb2.WaitJobRequest, job_service_pb2.WaitJobResponse)
CANCEL_JOB = Method(_JOB + "CancelJob", job_service_pb2.CancelJobRequest, job_service_pb2.CancelJobResponse)
RETRY_JOB = Method(_JOB + "RetryJob", job_service_pb2.RetryJobRequest, job_service_pb2.RetryJobResponse, False)
LIST_DEAD_LETTERS = Method(
    _JOB + "ListDeadLetters", job_service_pb2.ListDeadLettersRequest, job_service_pb2.ListDeadLettersResponse
)
LIST_LOG_LINES = Method(
    _JOB + "ListLogLines", job_service_pb2.ListLogLinesRequest, job_service_pb2.ListLogLinesResponse
)
GET_SERVER_INFO = Method(
    _JOB + "GetServerInfo", job_service_pb2.GetServerInfoRequest, job_service_pb2.GetServerInfoResponse
)
COLLECT_GARBAGE = Method(
    _MAINTENANCE + "CollectGarbage",
    maintenance_service_pb2.CollectGarbageRequest,
    maintenance_service_pb2.CollectGarbageResponse,
)
DELETE_ARTIFACT = Method(
    _MAINTENANCE + "DeleteArtifact",
    maintenance_service_pb2.DeleteArtifactRequest,
    maintenance_service_pb2.DeleteArtifactResponse,
    False,
)
REBUILD_JOBS = Method(
    _MAINTENANCE + "RebuildJobs",
    maintenance_service_pb2.RebuildJobsRequest,
    maintenance_service_pb2.RebuildJobsResponse,
)
GET_MANIFEST = Method(_ARTIFACT + "GetManifest", artifact_pb2.GetManifestRequest, artifact_pb2.GetManifestResponse)
DOWNLOAD_PART = Method(_ARTIFACT + "DownloadPart", artifact_pb2.DownloadPartRequest, artifact_pb2.DownloadPartResponse)
GET_LINEAGE = Method(_ARTIFACT + "GetLineage", artifact_pb2.GetLineageRequest, artifact_pb2.GetLineageResponse)


@dataclass(frozen=True, slots=True)
class Submit:
    """How a kind is submitted. Content-addressed, so a repeated call gives the same job."""

    kind: str
    service: str
    method: Method[Any, Any]
    spec: type[Message]


def _submit(kind: str, service: str, module: Any) -> Submit:
    """Finds Submit<Kind> and its messages in a generated module, by the naming rule of protos/."""
    descriptor = next(iter(module.DESCRIPTOR.services_by_name.values()))
    word = kind.capitalize()
    path = f"/{descriptor.full_name}/Submit{word}"
    request, response = getattr(module, f"Submit{word}Request"), getattr(module, f"Submit{word}Response")
    return Submit(kind, service, Method(path, request, response), getattr(module, f"{word}Spec"))


SUBMITS: Mapping[str, Submit] = {
    kind: _submit(kind, service, module)
    for kind, service, module in (
        ("tokens", "activation", activation_pb2),
        ("activations", "activation", activation_pb2),
        ("latents", "activation", activation_pb2),
        ("effects", "activation", activation_pb2),
        ("fidelity", "activation", activation_pb2),
        ("coder", "sae-trainer", training_pb2),
        ("coders", "sae-trainer", training_pb2),
        ("evaluation", "sae-trainer", training_pb2),
        ("overlap", "sae-trainer", training_pb2),
        ("export", "sae-trainer", training_pb2),
        ("explanations", "explainer", explanation_pb2),
        ("scores", "scorer", scoring_pb2),
        ("texts", "scorer", scoring_pb2),
        ("scorecard", "scorer", scoring_pb2),
        ("triage", "scorer", scoring_pb2),
    )
}
"""Every kind of job that can be submitted."""


SWEEP = _submit("sweep", "sae-trainer", training_pb2)
"""Many coders at once: no kind of job, but submitted like one."""


def submit_of(kind: str, *, field: str = "kind") -> Submit:
    """Returns how a kind is submitted. Raises InvalidSpec with the nearest kinds when there is no such kind."""
    found = SUBMITS.get(kind)
    if found is None:
        raise InvalidSpec(f"{kind!r} is not a kind of job; {suggestion(kind, SUBMITS)}", field=field)
    return found
