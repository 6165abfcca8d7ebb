"""A TCP proxy between a service and something it needs, which a test tells to misbehave.

Connections are passed through byte for byte until `fault` is set: then answers are slow, connections are cut in the
middle, stand still, or HTTP requests get an error without reaching the server.
"""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum

_BLOCK = 1 << 16


class Fault(Enum):
    """How the proxy misbehaves."""

    NONE = "none"
    SLOW = "slow"
    """Each block of an answer is late."""
    CUT = "cut"
    """A connection ends in the middle of its first answer."""
    STILL = "still"
    """Answers do not come; connections stay open."""
    HTTP_500 = "500"
    HTTP_503 = "503"


@dataclass
class FaultProxy:
    """Listens on a free port of its own and passes on to `target`, a port of this machine."""

    target: int
    fault: Fault = Fault.NONE
    delay: float = 0.2
    """Seconds for each block of a slow answer."""
    port: int = 0
    harmed: Counter[Fault] = field(default_factory=Counter)
    """Requests or connections that felt each fault."""

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    async def connected(self, near: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        """Serves one connection."""
        try:
            far, ask = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            answer.close()
            return
        ways = [asyncio.create_task(self._asks(near, ask, answer)), asyncio.create_task(self._answers(far, answer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for writer in (ask, answer):
                writer.close()

    async def _asks(self, near: asyncio.StreamReader, ask: asyncio.StreamWriter, answer: asyncio.StreamWriter) -> None:
        while data := await near.read(_BLOCK):
            if self.fault in {Fault.HTTP_500, Fault.HTTP_503}:
                self.harmed[self.fault] += 1
                answer.write(_refusal(self.fault))
                await answer.drain()
                return
            ask.write(data)
            await ask.drain()

    async def _answers(self, far: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        while data := await far.read(_BLOCK):
            self.harmed[self.fault] += self.fault is not Fault.NONE
            if self.fault is Fault.CUT:
                answer.write(data[: len(data) // 2])
                await answer.drain()
                return
            if self.fault is Fault.SLOW:
                await asyncio.sleep(self.delay)
            while self.fault is Fault.STILL:
                await asyncio.sleep(0.05)
            answer.write(data)
            await answer.drain()


def _refusal(fault: Fault) -> bytes:
    """An S3 error as a store that is overloaded, or broken, sends it."""
    code, words = {Fault.HTTP_500: ("InternalError", "Internal Server Error")}.get(
        fault, ("SlowDown", "Service Unavailable")
    )
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>on purpose</Message></Error>".encode()
    head = f"HTTP/1.1 {fault.value} {words}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


@contextmanager
def fault_proxy(target: int) -> Iterator[FaultProxy]:
    """Runs a proxy in a thread for as long as the block lasts."""
    proxy, ready, loop = FaultProxy(target), threading.Event(), asyncio.new_event_loop()

    async def serve() -> None:
        server = await asyncio.start_server(proxy.connected, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        ready.set()
        with contextlib.suppress(asyncio.CancelledError):
            await server.serve_forever()

    serving = loop.create_task(serve())
    thread = threading.Thread(target=loop.run_until_complete, args=(serving,), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(serving.cancel)
        thread.join(5)
