"""gRPC: submits jobs and nothing else; what becomes of them is `JobService`'s to tell."""

from typing import Any

import grpc.aio
from dragoman.activation.v1 import activation_pb2 as pb
from dragoman.activation.v1 import activation_pb2_grpc as pb_grpc
from dragoman.desk import Desk
from dragoman.rpc.convert import job_message

from activation.convert import spec_of

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["ActivationService"].full_name


class ActivationServicer(pb_grpc.ActivationServiceServicer):
    """Answers dragoman.activation.v1.ActivationService."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def SubmitTokens(self, request: pb.SubmitTokensRequest, context: Any) -> pb.SubmitTokensResponse:
        job, created = await self._desk.submit("tokens", spec_of(request), request.request_id)
        return pb.SubmitTokensResponse(job=job_message(job), created=created)

    async def SubmitActivations(
        self, request: pb.SubmitActivationsRequest, context: Any
    ) -> pb.SubmitActivationsResponse:
        job, created = await self._desk.submit("activations", spec_of(request), request.request_id)
        return pb.SubmitActivationsResponse(job=job_message(job), created=created)

    async def SubmitLatents(self, request: pb.SubmitLatentsRequest, context: Any) -> pb.SubmitLatentsResponse:
        job, created = await self._desk.submit("latents", spec_of(request), request.request_id)
        return pb.SubmitLatentsResponse(job=job_message(job), created=created)

    async def SubmitEffects(self, request: pb.SubmitEffectsRequest, context: Any) -> pb.SubmitEffectsResponse:
        job, created = await self._desk.submit("effects", spec_of(request), request.request_id)
        return pb.SubmitEffectsResponse(job=job_message(job), created=created)

    async def SubmitFidelity(self, request: pb.SubmitFidelityRequest, context: Any) -> pb.SubmitFidelityResponse:
        job, created = await self._desk.submit("fidelity", spec_of(request), request.request_id)
        return pb.SubmitFidelityResponse(job=job_message(job), created=created)


def add_servicers(server: grpc.aio.Server, desk: Desk) -> None:
    """Mounts this service on a server."""
    pb_grpc.add_ActivationServiceServicer_to_server(ActivationServicer(desk), server)
