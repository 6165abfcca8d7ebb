"""dragoman.explanation.v1.ExplanationService."""

from typing import Any

import grpc
import grpc.aio
from dragoman.desk import Desk
from dragoman.explanation.v1 import explanation_pb2, explanation_pb2_grpc

from explainer import convert

SERVICE_NAME = explanation_pb2.DESCRIPTOR.services_by_name["ExplanationService"].full_name


class ExplanationServicer(explanation_pb2_grpc.ExplanationServiceServicer):
    """Hands specs to the desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def SubmitExplanations(
        self, request: explanation_pb2.SubmitExplanationsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> explanation_pb2.SubmitExplanationsResponse:
        job, created = await self._desk.submit("explanations", convert.explanations_spec(request), request.request_id)
        return convert.explanations_response(job, created)


def add_servicers(server: grpc.aio.Server, desk: Desk) -> None:
    """Registers this service's RPCs."""
    explanation_pb2_grpc.add_ExplanationServiceServicer_to_server(ExplanationServicer(desk), server)
