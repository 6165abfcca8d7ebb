"""dragoman.training.v1.TrainingService."""

from typing import Any

import grpc
import grpc.aio
from dragoman.desk import Desk
from dragoman.training.v1 import training_pb2, training_pb2_grpc

from sae_trainer import convert
from sae_trainer.sweeping import submit_sweep

SERVICE_NAME = training_pb2.DESCRIPTOR.services_by_name["TrainingService"].full_name


class TrainingServicer(training_pb2_grpc.TrainingServiceServicer):
    """Hands specs to the desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def SubmitCoder(
        self, request: training_pb2.SubmitCoderRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> training_pb2.SubmitCoderResponse:
        job, created = await self._desk.submit("coder", convert.coder_spec(request), request.request_id)
        return convert.coder_response(job, created)

    async def SubmitCoders(
        self, request: training_pb2.SubmitCodersRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> training_pb2.SubmitCodersResponse:
        job, created = await self._desk.submit("coders", convert.coders_spec(request), request.request_id)
        return convert.coders_response(job, created)

    async def SubmitSweep(
        self, request: training_pb2.SubmitSweepRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> training_pb2.SubmitSweepResponse:
        swept = await submit_sweep(self._desk, convert.sweep_spec(request), request.request_id)
        return convert.sweep_response(swept)

    async def SubmitEvaluation(
        self, request: training_pb2.SubmitEvaluationRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> training_pb2.SubmitEvaluationResponse:
        job, created = await self._desk.submit("evaluation", convert.evaluation_spec(request), request.request_id)
        return convert.evaluation_response(job, created)

    async def SubmitOverlap(
        self, request: training_pb2.SubmitOverlapRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> training_pb2.SubmitOverlapResponse:
        job, created = await self._desk.submit("overlap", convert.overlap_spec(request), request.request_id)
        return convert.overlap_response(job, created)

    async def SubmitExport(
        self, request: training_pb2.SubmitExportRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> training_pb2.SubmitExportResponse:
        job, created = await self._desk.submit("export", convert.export_spec(request), request.request_id)
        return convert.export_response(job, created)


def add_servicers(server: grpc.aio.Server, desk: Desk) -> None:
    """Registers this service's RPCs."""
    training_pb2_grpc.add_TrainingServiceServicer_to_server(TrainingServicer(desk), server)
