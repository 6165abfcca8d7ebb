"""Dragoman's own services on the laptop: the very commands that a cluster runs, told where everything is."""

import sys
from collections.abc import Mapping
from pathlib import Path

from dragoman.stack.credentials import Credentials
from dragoman.stack.engines import VLLM, LlmChoice
from dragoman.stack.ports import Ports
from dragoman.stack.process import Program
from dragoman.stack.servers import BUCKET

PACKAGES: Mapping[str, str] = {
    "activation": "activation",
    "sae-trainer": "sae_trainer",
    "explainer": "explainer",
    "scorer": "scorer",
}
"""Service to the package that implements it."""


def environment(
    home: Path, ports: Ports, credentials: Credentials, llm: LlmChoice | None, embedder: str = ""
) -> dict[str, str]:
    """Returns what every service is told. Without a language model or embedder, those that need one say so."""
    told = {
        "DRAGOMAN_HOME": str(home),
        "DRAGOMAN_NATS_URL": f"nats://{ports.address('nats')}",
        "DRAGOMAN_NATS_USER": credentials.nats_user,
        "DRAGOMAN_NATS_PASSWORD": credentials.nats_password,
        "DRAGOMAN_S3_ENDPOINT": ports.address("s3"),
        "DRAGOMAN_S3_ACCESS_KEY": credentials.s3_access_key,
        "DRAGOMAN_S3_SECRET_KEY": credentials.s3_secret_key,
        "DRAGOMAN_S3_BUCKET": BUCKET,
        "DRAGOMAN_S3_SECURE": "false",
        "DRAGOMAN_MACHINE_LOCK": str(home / "machine.lock"),
        "DRAGOMAN_DRAIN_S": "3",
        # On loopback, and whoever may submit is whoever started it.
        "DRAGOMAN_INSECURE": "1",
        "DRAGOMAN_SOURCE_ROOTS": "/",
        "DRAGOMAN_HUB_ALLOW": "*",
        "PYTHONUNBUFFERED": "1",
    }
    if llm is not None:
        told["DRAGOMAN_LLM_URL"] = llm.url or f"http://{ports.address('llm')}"
        told["DRAGOMAN_LLM_MODEL"] = llm.alias
        told["DRAGOMAN_LLM_API_KEY"] = llm.api_key if llm.url else credentials.llm_api_key
        if llm.engine == VLLM:  # many requests at a time are what it is for
            told |= {f"{name}_LLM_CONCURRENCY": str(llm.slots) for name in ("EXPLAINER", "SCORER")}
    if embedder:
        told["DRAGOMAN_EMBED_URL"] = f"http://{ports.address('embedder')}"
        told["DRAGOMAN_EMBED_MODEL"] = embedder
        told["DRAGOMAN_EMBED_API_KEY"] = credentials.llm_api_key
    return told


def service(name: str, ports: Ports, told: Mapping[str, str]) -> Program:
    """A service: its API and a worker in one process tree."""
    prefix = PACKAGES[name].upper()
    own = {
        f"{prefix}_GRPC_ADDRESS": ports.address(name),
        f"{prefix}_METRICS_ADDRESS": f"127.0.0.1:{ports.metrics(name)}",
    }
    return Program(
        name,
        [sys.executable, "-m", PACKAGES[name]],
        environ={**told, **own},
        check=lambda: grpc_health(ports.address(name)),
        patience=120,
        grace=20,
        address=ports.address(name),
    )


def worker(service_name: str, number: int, told: Mapping[str, str]) -> Program:
    """One more worker of a service, without an API."""
    package = PACKAGES[service_name]
    return Program(
        f"{service_name}-worker-{number}", [sys.executable, "-m", package, "work"], environ=told, grace=20,
        address=f"worker of {service_name}",
    )  # fmt: skip


def grpc_health(address: str) -> str:
    """Returns "" when grpc.health.v1 says SERVING."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
        except grpc.RpcError as error:
            return f"{address}: {error.code().name}"  # pyright: ignore[reportAttributeAccessIssue]
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return "" if status == "SERVING" else f"{address} says {status}"
