"""One service, two processes from one image: `serve` answers gRPC, `work` does tasks; with neither, both run.

A third command, `tasks`, is what a worker starts to compute in; nobody else calls it.
"""

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import grpc.aio

from dragoman import tracing
from dragoman.bus import Bus
from dragoman.desk import Desk
from dragoman.errors import DragomanError
from dragoman.jobdesk import JobDesk
from dragoman.jobindex import JobIndex
from dragoman.joblog import JobLog
from dragoman.kinds import AnyKind
from dragoman.ledger import Ledger
from dragoman.metrics import METRICS
from dragoman.monitoring import serve_monitoring
from dragoman.planner import Planner
from dragoman.settings import Settings
from dragoman.source_policy import Sources
from dragoman.store import Store
from dragoman.vitals import Check, Vitals
from dragoman.wakeup import mend_regularly, wake_on_events
from dragoman.worker import Worker

if TYPE_CHECKING:
    from dragoman.rpc.info import ServerInfo
    from dragoman.rpc.server import AddServicers

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Capability:
    """Something a server can do, or why it cannot and how to get it."""

    name: str
    available: bool
    detail: str


@dataclass(frozen=True, slots=True)
class ServiceDefinition:
    """What makes one service differ from another."""

    name: str
    """As users write it, for example "sae-trainer"."""
    package: str
    """Import name; `python -m <package>` starts it."""
    build_kinds: Callable[[Store], Sequence[AnyKind]]
    add_servicers: Callable[[grpc.aio.Server, Desk], None]
    service_names: Sequence[str]
    """Full names of its gRPC services, for health and reflection."""
    capabilities: Callable[[], Sequence[Capability]] = lambda: ()
    software: Mapping[str, str] = field(default_factory=dict[str, str])
    checks: Mapping[str, Check] = field(default_factory=dict[str, Check])
    """What a worker needs beside NATS and the store, for readiness."""


def main(definition: ServiceDefinition, argv: Sequence[str] | None = None) -> int:
    """Runs a service's command line and returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog=f"python -m {definition.package}", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["serve", "work", "tasks"], help="default: serve and work")
    parser.add_argument("--once", action="store_true", help="work: end when nothing is queued")
    options = parser.parse_args(arguments)
    command: str | None = options.command
    if options.once and command != "work":
        parser.error("--once belongs to work")
    from dragoman.redaction import register_secrets
    from dragoman.telemetry import configure_logging

    register_secrets(os.environ)
    try:
        settings = Settings.from_env(os.environ, definition.name)
        configure_logging(definition.name, settings.log_level, settings.log_format)
        Sources.policy = settings.sources
        if settings.traces:
            tracing.configure_tracing(definition.name)
        if command == "tasks":
            return _tasks(definition, settings)
        settings = replace(settings, worker=replace(settings.worker, once=options.once))
        return asyncio.run(_run(definition, settings, serve=command != "work", work=command != "serve"))
    except DragomanError as error:
        _LOG.error("%s", error.message)
        return 1
    finally:
        tracing.end()


def _tasks(definition: ServiceDefinition, settings: Settings) -> int:
    from dragoman.worker.child import serve_tasks  # only this process computes

    store = Store(settings.store)
    return serve_tasks(definition.build_kinds(store), store)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The adapters of one process, wired together."""

    definition: ServiceDefinition
    settings: Settings
    bus: Bus
    store: Store
    kinds: Mapping[str, AnyKind]
    ledger: Ledger
    planner: Planner
    index: JobIndex


def _end(stop: asyncio.Event, vitals: Vitals) -> None:
    vitals.stop()
    stop.set()


async def _beat(vitals: Vitals) -> None:
    while True:
        vitals.beat()
        await asyncio.sleep(1)


async def _assemble(definition: ServiceDefinition, settings: Settings, store: Store, bus: Bus) -> _Parts:
    await asyncio.to_thread(store.probe)
    await bus.connect()
    kinds = {kind.name: kind for kind in definition.build_kinds(store)}
    ledger = Ledger(bus)
    planner = Planner(definition.name, kinds, ledger, bus, store, definition.software)
    return _Parts(definition, settings, bus, store, kinds, ledger, planner, JobIndex(bus))


async def _run(definition: ServiceDefinition, settings: Settings, serve: bool, work: bool) -> int:
    store, bus = Store(settings.store), Bus(settings.bus)
    vitals = Vitals({"nats": bus.trouble, "store": store.trouble, **(definition.checks if work else {})})
    if settings.metrics_address:
        host, _, port = settings.metrics_address.rpartition(":")
        serve_monitoring(int(port), host or "127.0.0.1", vitals)
    beating = asyncio.create_task(_beat(vitals))
    parts = await _assemble(definition, settings, store, bus)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, _end, stop, vitals)
    roles: list[Coroutine[Any, Any, None]] = []
    if serve:
        roles.append(_serve(parts, stop))
    if work:
        roles.append(_work(parts, stop))
    tasks = [asyncio.create_task(role) for role in roles]
    lost = asyncio.create_task(parts.bus.closed.wait())
    done, _ = await asyncio.wait({*tasks, lost}, return_when=asyncio.FIRST_COMPLETED)
    failed = lost in done or not (stop.is_set() or settings.worker.once)
    _end(stop, vitals)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    lost.cancel()
    beating.cancel()
    await parts.bus.close()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return 1 if failed else 0


async def _serve(parts: _Parts, stop: asyncio.Event) -> None:
    from dragoman.exposure import check_exposure
    from dragoman.rpc.server import serve

    settings, name = parts.settings, parts.definition.name
    check_exposure(settings.server, insecure=settings.insecure, plaintext=settings.plaintext)
    desk = JobDesk(name, parts.kinds, parts.bus, parts.ledger, parts.planner, parts.store, parts.index)
    loops = [
        asyncio.create_task(wake_on_events(name, parts.bus, parts.ledger, parts.planner, stop)),
        asyncio.create_task(mend_regularly(name, parts.bus, parts.index, parts.planner, settings.mend_every, stop)),
    ]
    add, names = _servicers(parts)
    address, server = settings.server.address, settings.server
    gc.collect()
    gc.freeze()  # what is here by now stays: not looked through again, a submission takes 0.06 ms of CPU less
    try:
        await serve(address, desk, parts.store, _info(parts), add, names, stop, config=server, observe=_observe_call)
    finally:
        for task in loops:
            task.cancel()


def _info(parts: _Parts) -> "ServerInfo":
    from dragoman.rpc.info import ServerInfo

    definition = parts.definition
    return ServerInfo(
        service=definition.name,
        kinds=parts.kinds,
        software=definition.software,
        capabilities=definition.capabilities,
        max_attempts=parts.settings.worker.max_attempts,
    )


def _servicers(parts: _Parts) -> "tuple[AddServicers, Sequence[str]]":
    """Returns what adds the servicers that are not every server's, and their full names."""
    from dragoman.maintenance import Maintenance
    from dragoman.rpc import maintenance_servicer
    from dragoman.rpc.maintenance_servicer import MaintenanceServicer

    definition = parts.definition
    servicer = MaintenanceServicer(Maintenance(parts.store, parts.ledger, parts.index))

    def add(server: grpc.aio.Server, desk: Desk) -> None:
        definition.add_servicers(server, desk)
        maintenance_servicer.mount(server, servicer)

    return add, (*definition.service_names, maintenance_servicer.SERVICE_NAME)


def _observe_call(method: str, code: str, seconds: float) -> None:
    METRICS.grpc_requests.labels(method, code).inc()
    METRICS.grpc_seconds.labels(method, code).observe(seconds)


async def _work(parts: _Parts, stop: asyncio.Event) -> None:
    worker = Worker(
        parts.definition.name,
        parts.definition.package,
        parts.kinds,
        parts.bus,
        parts.ledger,
        parts.planner,
        JobLog(parts.store),
        parts.settings.worker,
    )
    running = asyncio.create_task(worker.run())
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    worker.stop()
    waiting.cancel()
    await running
