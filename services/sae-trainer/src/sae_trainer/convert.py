"""The only file of this service that knows protobuf."""

from collections.abc import Mapping, Sequence

from dragoman.ids import Json
from dragoman.jobs import JobRecord
from dragoman.rpc.convert import job_message, spec_dict
from dragoman.training.v1 import training_pb2

from sae_trainer.sweeping import Swept


def coder_spec(request: training_pb2.SubmitCoderRequest) -> Mapping[str, Json]:
    """Returns what was given of a coder spec."""
    return spec_dict(request.spec)


def coders_spec(request: training_pb2.SubmitCodersRequest) -> Mapping[str, Json]:
    """Returns what was given of a spec of coders that are trained together."""
    return spec_dict(request.spec)


def coders_response(job: JobRecord, created: bool) -> training_pb2.SubmitCodersResponse:
    """Returns the answer to SubmitCoders."""
    return training_pb2.SubmitCodersResponse(job=job_message(job), created=created)


def sweep_spec(request: training_pb2.SubmitSweepRequest) -> Mapping[str, Json]:
    """Returns what was given of a sweep's spec."""
    return spec_dict(request.spec)


def sweep_response(swept: Sequence[Swept]) -> training_pb2.SubmitSweepResponse:
    """Returns the answer to SubmitSweep."""
    coders = [training_pb2.SweepCoder(label=s.label, job=job_message(s.job), created=s.created) for s in swept]
    return training_pb2.SubmitSweepResponse(coders=coders)


def evaluation_spec(request: training_pb2.SubmitEvaluationRequest) -> Mapping[str, Json]:
    """Returns what was given of an evaluation spec."""
    return spec_dict(request.spec)


def coder_response(job: JobRecord, created: bool) -> training_pb2.SubmitCoderResponse:
    """Returns the answer to SubmitCoder."""
    return training_pb2.SubmitCoderResponse(job=job_message(job), created=created)


def evaluation_response(job: JobRecord, created: bool) -> training_pb2.SubmitEvaluationResponse:
    """Returns the answer to SubmitEvaluation."""
    return training_pb2.SubmitEvaluationResponse(job=job_message(job), created=created)


def overlap_spec(request: training_pb2.SubmitOverlapRequest) -> Mapping[str, Json]:
    """Returns what was given of an overlap spec."""
    return spec_dict(request.spec)


def overlap_response(job: JobRecord, created: bool) -> training_pb2.SubmitOverlapResponse:
    """Returns the answer to SubmitOverlap."""
    return training_pb2.SubmitOverlapResponse(job=job_message(job), created=created)


def export_spec(request: training_pb2.SubmitExportRequest) -> Mapping[str, Json]:
    """Returns what was given of an export spec."""
    return spec_dict(request.spec)


def export_response(job: JobRecord, created: bool) -> training_pb2.SubmitExportResponse:
    """Returns the answer to SubmitExport."""
    return training_pb2.SubmitExportResponse(job=job_message(job), created=created)
