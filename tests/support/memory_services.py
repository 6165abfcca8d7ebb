"""All four services over a desk in memory, in a thread of their own: something for a client to talk to."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from dragoman.desk import Desk
from dragoman.rpc.convert import job_message, spec_dict
from dragoman.rpc.info import ServerInfo
from dragoman.rpc.methods import SERVICES, SUBMITS, Submit
from dragoman.rpc.server import RunningServer, ServerConfig, start

from tests.support.memory_desk import MemoryDesk, MemoryStore


def add_submits(server: grpc.aio.Server, desk: Desk) -> None:
    """Mounts the typed Submit methods of every kind."""
    by_service: dict[str, dict[str, Any]] = {}
    for submit in SUBMITS.values():
        service, method = submit.method.name.split("/")
        by_service.setdefault(service, {})[method] = _handler(submit, desk)
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(service, methods) for service, methods in by_service.items())
    )


def _handler(submit: Submit, desk: Desk) -> Any:
    async def answer(request: Any, context: Any) -> Any:
        job, created = await desk.submit(submit.kind, spec_dict(request.spec), request.request_id)
        return submit.method.response(job=job_message(job), created=created)

    return grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=submit.method.request.FromString,
        response_serializer=submit.method.response.SerializeToString,
    )


@dataclass
class Services:
    """Two servers with one desk and one store; each knows every kind."""

    desk: MemoryDesk
    store: MemoryStore
    servers: list[RunningServer]
    loop: asyncio.AbstractEventLoop

    @property
    def addresses(self) -> dict[str, str]:
        """The first service has the first server, the others share the second."""
        return {name: self.servers[0 if i == 0 else -1].address for i, name in enumerate(SERVICES)}

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs a coroutine in the services' loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def start(self, address: str = "127.0.0.1:0", **settings: Any) -> RunningServer:
        """Starts one more server."""
        config = ServerConfig(**{"address": address, "heartbeat": 0.2, "grace": 0.5, **settings})
        info = ServerInfo("activation", software={"torch": "2.13.0"})
        return self.run(start(config, self.desk, self.store, info, add_submits, []))

    def on_loop(self, make: Callable[[], Any]) -> Any:
        """Calls something inside the loop."""

        async def call() -> Any:
            return make()

        return self.run(call())


@contextmanager
def services(**settings: Any) -> Generator[Services]:
    """Runs two servers for as long as the block lasts."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    made = Services(None, MemoryStore(), [], loop)  # type: ignore[arg-type]
    made.desk = made.on_loop(MemoryDesk)
    made.servers = [made.start(**settings), made.start(**settings)]
    try:
        yield made
    finally:
        for server in made.servers:
            made.run(server.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()
