"""The only file of this service that knows protobuf."""

from collections.abc import Mapping

from dragoman.ids import Json
from dragoman.jobs import JobRecord
from dragoman.rpc.convert import job_message, spec_dict
from dragoman.scoring.v1 import scoring_pb2


def scores_spec(request: scoring_pb2.SubmitScoresRequest) -> Mapping[str, Json]:
    """Returns what was given of a scores spec."""
    return spec_dict(request.spec)


def texts_spec(request: scoring_pb2.SubmitTextsRequest) -> Mapping[str, Json]:
    """Returns what was given of a texts spec."""
    return spec_dict(request.spec)


def scorecard_spec(request: scoring_pb2.SubmitScorecardRequest) -> Mapping[str, Json]:
    """Returns what was given of a scorecard spec."""
    return spec_dict(request.spec)


def triage_spec(request: scoring_pb2.SubmitTriageRequest) -> Mapping[str, Json]:
    """Returns what was given of a triage spec."""
    return spec_dict(request.spec)


def scores_response(job: JobRecord, created: bool) -> scoring_pb2.SubmitScoresResponse:
    """Returns the answer to SubmitScores."""
    return scoring_pb2.SubmitScoresResponse(job=job_message(job), created=created)


def texts_response(job: JobRecord, created: bool) -> scoring_pb2.SubmitTextsResponse:
    """Returns the answer to SubmitTexts."""
    return scoring_pb2.SubmitTextsResponse(job=job_message(job), created=created)


def scorecard_response(job: JobRecord, created: bool) -> scoring_pb2.SubmitScorecardResponse:
    """Returns the answer to SubmitScorecard."""
    return scoring_pb2.SubmitScorecardResponse(job=job_message(job), created=created)


def triage_response(job: JobRecord, created: bool) -> scoring_pb2.SubmitTriageResponse:
    """Returns the answer to SubmitTriage."""
    return scoring_pb2.SubmitTriageResponse(job=job_message(job), created=created)
