"""Every kind of job of all four services behind one server, over real NATS and a real store, in this process."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import activation.config
import activation.kinds
import activation.servicer
import explainer.config
import explainer.kinds
import explainer.servicer
import grpc
import grpc.aio
import sae_trainer.config
import sae_trainer.kinds
import sae_trainer.servicer
import scorer.config
import scorer.kinds
import scorer.servicer
from dragoman.bus import Bus, BusConfig
from dragoman.desk import Desk
from dragoman.jobdesk import JobDesk
from dragoman.jobindex import JobIndex
from dragoman.ledger import Ledger
from dragoman.maintenance import Maintenance
from dragoman.planner import Planner
from dragoman.rpc import maintenance_servicer
from dragoman.rpc.info import ServerInfo
from dragoman.rpc.maintenance_servicer import MaintenanceServicer
from dragoman.rpc.server import ServerConfig, start
from dragoman.store import Store, StoreConfig

SERVICES = (activation, sae_trainer, explainer, scorer)


@dataclass
class FuzzedServer:
    """A server, and what it has written down."""

    loop: asyncio.AbstractEventLoop
    bus: Bus
    store: Store
    channel: grpc.Channel
    accepted: set[str] = field(default_factory=set)
    """Jobs that it said it has taken."""

    def call(
        self, path: str, request: bytes, timeout: float = 30.0, *, streams: bool = False
    ) -> tuple[grpc.StatusCode, bytes, str]:
        """Sends bytes to a method; returns the code, the answer and the error's message."""
        method = (self.channel.unary_stream if streams else self.channel.unary_unary)(path)
        try:
            answer = method(request, timeout=timeout)
            return grpc.StatusCode.OK, b"".join(answer) if streams else answer, ""
        except grpc.RpcError as error:
            return error.code(), b"", error.details() or ""

    def run(self, work: Any) -> Any:
        """Runs a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def left_behind(self) -> set[str]:
        """Jobs that are named anywhere in NATS or the store and were never accepted."""
        return self.run(self._named()) - self.accepted

    async def _named(self) -> set[str]:
        ledger, named = Ledger(self.bus), set(await JobIndex(self.bus).refresh())
        for bucket in ("waits", "attempts", "running"):
            for key in await ledger._keys(bucket, ">"):
                named.add(key.split(".")[1 if bucket == "waits" else 0])
        for key in await ledger._keys("requests", ">"):
            entry = await ledger._get("requests", key)
            assert entry is not None
            named.add(entry[0].decode())
        for stream, place in (("TASKS", 4), ("EVENTS", 3), ("DEAD", 4)):
            subjects = await self.bus.subjects(self.bus.stream(stream), ">")
            named |= {subject.split(".")[place] for subject in subjects}
        return named


@contextmanager
def fuzzed_server(nats: BusConfig, storage: StoreConfig, folder: Path) -> Iterator[FuzzedServer]:
    """Runs the server for as long as the block lasts. No language model answers, no hub, and nobody works."""
    environ = {"DRAGOMAN_HOME": str(folder), "DRAGOMAN_LLM_URL": "http://127.0.0.1:1", "DRAGOMAN_LLM_MODEL": "small"}
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    store, bus = Store(storage), Bus(nats)
    store.probe()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    run(bus.connect())
    server = run(_start(bus, store, environ))
    channel = grpc.insecure_channel(server.address)
    try:
        yield FuzzedServer(loop, bus, store, channel)
    finally:
        channel.close()
        run(server.stop(0.5))
        run(bus.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


def all_kinds(environ: Mapping[str, str], store: Store) -> dict[str, Any]:
    """Every kind of job there is, by name."""
    return {
        kind.name: kind
        for service in SERVICES
        for kind in service.kinds.build(service.config.Config.from_env(environ), store)
    }


async def _start(bus: Bus, store: Store, environ: Mapping[str, str]) -> Any:
    kinds = all_kinds(environ, store)
    ledger, index = Ledger(bus), JobIndex(bus)
    desk = JobDesk("fuzzed", kinds, bus, ledger, Planner("fuzzed", kinds, ledger, bus, store, {}), store, index)
    maintenance = MaintenanceServicer(Maintenance(store, ledger, index))

    def add_servicers(server: grpc.aio.Server, desk: Desk) -> None:
        for service in SERVICES:
            service.servicer.add_servicers(server, desk)
        maintenance_servicer.mount(server, maintenance)

    return await start(ServerConfig("127.0.0.1:0"), desk, store, ServerInfo("fuzzed"), add_servicers, [])


def job_ids(answer: Any) -> list[str]:
    """The jobs that a submission's answer names."""
    return [answer.job.id] if hasattr(answer, "job") else [coder.job.id for coder in answer.coders]
