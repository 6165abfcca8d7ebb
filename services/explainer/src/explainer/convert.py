"""The only file of this service that knows protobuf."""

from collections.abc import Mapping

from dragoman.explanation.v1 import explanation_pb2
from dragoman.ids import Json
from dragoman.jobs import JobRecord
from dragoman.rpc.convert import job_message, spec_dict


def explanations_spec(request: explanation_pb2.SubmitExplanationsRequest) -> Mapping[str, Json]:
    """Returns what was given of an explanations spec."""
    return spec_dict(request.spec)


def explanations_response(job: JobRecord, created: bool) -> explanation_pb2.SubmitExplanationsResponse:
    """Returns the answer to SubmitExplanations."""
    return explanation_pb2.SubmitExplanationsResponse(job=job_message(job), created=created)
