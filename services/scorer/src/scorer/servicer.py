"""dragoman.scoring.v1.ScoringService."""

from typing import Any

import grpc
import grpc.aio
from dragoman.desk import Desk
from dragoman.scoring.v1 import scoring_pb2, scoring_pb2_grpc

from scorer import convert

SERVICE_NAME = scoring_pb2.DESCRIPTOR.services_by_name["ScoringService"].full_name


class ScoringServicer(scoring_pb2_grpc.ScoringServiceServicer):
    """Hands specs to the desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def SubmitScores(
        self, request: scoring_pb2.SubmitScoresRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> scoring_pb2.SubmitScoresResponse:
        job, created = await self._desk.submit("scores", convert.scores_spec(request), request.request_id)
        return convert.scores_response(job, created)

    async def SubmitTexts(
        self, request: scoring_pb2.SubmitTextsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> scoring_pb2.SubmitTextsResponse:
        job, created = await self._desk.submit("texts", convert.texts_spec(request), request.request_id)
        return convert.texts_response(job, created)

    async def SubmitScorecard(
        self, request: scoring_pb2.SubmitScorecardRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> scoring_pb2.SubmitScorecardResponse:
        job, created = await self._desk.submit("scorecard", convert.scorecard_spec(request), request.request_id)
        return convert.scorecard_response(job, created)

    async def SubmitTriage(
        self, request: scoring_pb2.SubmitTriageRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> scoring_pb2.SubmitTriageResponse:
        job, created = await self._desk.submit("triage", convert.triage_spec(request), request.request_id)
        return convert.triage_response(job, created)


def add_servicers(server: grpc.aio.Server, desk: Desk) -> None:
    """Registers this service's RPCs."""
    scoring_pb2_grpc.add_ScoringServiceServicer_to_server(ScoringServicer(desk), server)
