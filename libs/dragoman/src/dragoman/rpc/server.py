"""The gRPC server that every service runs: shared services, health, reflection, keepalive, orderly stop."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from dragoman import tracing
from dragoman.desk import Desk
from dragoman.errors import FailedPrecondition, NotFound
from dragoman.principals import Principals
from dragoman.rpc import artifact_servicer, job_servicer
from dragoman.rpc.artifact_servicer import ArtifactServicer, ArtifactStore
from dragoman.rpc.info import MAX_MESSAGE_BYTES, ServerInfo
from dragoman.rpc.interceptors import (
    AccessInterceptor,
    CallInterceptor,
    ErrorInterceptor,
    Observe,
    TraceInterceptor,
)
from dragoman.rpc.job_servicer import JobServicer

_LOG = logging.getLogger(__name__)

KEEPALIVE: Sequence[tuple[str, int]] = (
    # Clients ping every 30 s or more, also on quiet watches; a faster one is told ENHANCE_YOUR_CALM.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Connections end now and then, so that clients spread over new replicas; watches resume by cursor.
    ("grpc.max_connection_age_ms", 30 * 60_000),
    ("grpc.max_connection_age_grace_ms", 5 * 60_000),
)

MAX_CALLS = 1000
"""Open at a time on one connection, watches included; further ones wait."""


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """PEM files of the server. With `client_ca`, clients must show a certificate that it signed."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Reads the files. Raises NotFound when one is missing."""
        pair = (_pem(self.key), _pem(self.certificate))
        ca = _pem(self.client_ca) if self.client_ca else None
        return grpc.ssl_server_credentials([pair], ca, require_client_auth=ca is not None)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where and how to listen."""

    address: str = "127.0.0.1:0"
    """Host and port; port 0 means any free one. Loopback unless told otherwise."""
    tls: TlsConfig | None = None
    principals: Principals | None = None
    """Who may call; None: anyone who can reach the server. Health and reflection are free."""
    debug: bool = False
    """Send tracebacks to clients, as DebugInfo."""
    grace: float = 10.0
    """Seconds that running calls get at the end."""
    heartbeat: float = 15.0
    """Seconds of silence after which a watch gets a heartbeat."""


class RunningServer:
    """A server that listens. Made by `serve`."""

    def __init__(
        self,
        server: grpc.aio.Server,
        address: str,
        checks: Any,
        names: Sequence[str],
        jobs: JobServicer,
        grace: float,
    ) -> None:
        self._server = server
        self.address = address
        """Host and port that clients on this machine can use."""
        self.service_names = tuple(names)
        self._health = checks
        self._jobs = jobs
        self._grace = grace
        self._stop: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.address.rsplit(":", 1)[1])

    async def set_serving(self, serving: bool) -> None:
        """Tells health checks whether to send work here, as a whole and for each service."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *self.service_names):
            await self._health.set(name, status)

    async def wait(self) -> None:
        """Returns when the server has stopped."""
        await self._server.wait_for_termination()

    async def stop(self, grace: float | None = None) -> None:
        """NOT_SERVING first, then no new calls, then up to `grace` seconds for running ones. Safe to repeat."""
        if self._stop is None:
            self._stop = asyncio.ensure_future(self._stop_in_order(self._grace if grace is None else grace))
        await asyncio.shield(self._stop)

    async def _stop_in_order(self, grace: float) -> None:
        await self._health.enter_graceful_shutdown()
        self._jobs.stop()
        await self._server.stop(grace)
        _LOG.info("stopped listening on %s", self.address)


AddServicers = Callable[[grpc.aio.Server, Desk], None]


async def serve(
    address: str,
    desk: Desk,
    store: ArtifactStore,
    info: ServerInfo,
    add_servicers: AddServicers,
    service_names: Sequence[str],
    stop: asyncio.Event,
    *,
    config: ServerConfig | None = None,
    observe: Observe | None = None,
) -> None:
    """Runs a server until `stop` is set, then ends it in order. See `start`."""
    config = replace(config or ServerConfig(), address=address)
    running = await start(config, desk, store, info, add_servicers, service_names, observe=observe)
    try:
        await stop.wait()
    finally:
        await running.stop()


async def start(
    config: ServerConfig,
    desk: Desk,
    store: ArtifactStore,
    info: ServerInfo,
    add_servicers: AddServicers,
    service_names: Sequence[str],
    *,
    observe: Observe | None = None,
) -> RunningServer:
    """Starts a server with JobService, ArtifactService, health, reflection and a service's own servicers.

    Args:
        config: Where and how to listen.
        desk: The job system.
        store: The object store.
        info: What GetServerInfo answers; its service's name is also part of the setting that errors name.
        add_servicers: Adds the service's own servicers.
        service_names: Full names of what `add_servicers` adds, for health and reflection.
        observe: Told of every finished call: method, code, seconds.

    Raises:
        FailedPrecondition: The address cannot be bound; the message names the setting.
    """
    grpc_aio, grpc_health = cast(Any, grpc.aio), cast(Any, health)
    server: grpc.aio.Server = grpc_aio.server(interceptors=_interceptors(config, observe), options=_options())
    jobs = JobServicer(desk, info, heartbeat=config.heartbeat)
    names = [job_servicer.mount(server, jobs), artifact_servicer.mount(server, ArtifactServicer(store, desk))]
    add_servicers(server, desk)
    names.extend(service_names)
    checks: Any = grpc_health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    setting = f"{info.service.upper().replace('-', '_')}_GRPC_ADDRESS"
    running = RunningServer(server, _bind(server, config, setting), checks, names, jobs, config.grace)
    await server.start()
    await running.set_serving(True)
    _LOG.info("listening on %s", running.address, extra={"address": running.address})
    return running


def _interceptors(config: ServerConfig, observe: Observe | None) -> list[Any]:
    chain: list[Any] = [CallInterceptor(observe), ErrorInterceptor(debug=config.debug)]
    chain += [] if config.principals is None else [AccessInterceptor(config.principals)]
    return [*chain, TraceInterceptor()] if tracing.on() else chain


def _options() -> list[tuple[str, int]]:
    return [
        *KEEPALIVE,
        ("grpc.max_concurrent_streams", MAX_CALLS),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        # Without this, a second server binds the same port without an error and takes half of the calls.
        ("grpc.so_reuseport", 0),
    ]


def _bind(server: grpc.aio.Server, config: ServerConfig, setting: str) -> str:
    """Binds and returns an address for clients. Raises FailedPrecondition when the address cannot be had."""
    try:
        if config.tls is not None:
            port = server.add_secure_port(config.address, config.tls.credentials())
        else:
            port = server.add_insecure_port(config.address)
    except RuntimeError as error:
        port, cause = 0, str(error)
    else:
        cause = "the address was refused"
    if not port:
        raise FailedPrecondition(
            f"cannot listen on {config.address}: it is in use by another process, or is no address of this machine "
            f"({cause}). Stop the other process or set {setting} to another host:port",
            reason="ADDRESS_IN_USE",
        )
    host = config.address.rsplit(":", 1)[0]
    return f"{'127.0.0.1' if host in {'0.0.0.0', '[::]', ''} else host}:{port}"


def _pem(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFound(f"cannot read the PEM file {path}: {error.strerror}") from error
