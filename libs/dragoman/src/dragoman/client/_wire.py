"""Channels and calls: deadlines, retries of UNAVAILABLE alone, typed errors."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import Message

from dragoman.client._addresses import Addresses
from dragoman.errors import DragomanError, Unavailable
from dragoman.rpc.errors import error_of, retry_delay
from dragoman.rpc.methods import Method

Req = TypeVar("Req", bound=Message)
Resp = TypeVar("Resp", bound=Message)

_EOF: Any = cast(Any, grpc.aio).EOF
_FIRST_PATIENCE = 2.0
"""Seconds that a server which has never answered is tried for; nobody waits long for a stack that is not there."""
_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.max_metadata_size", 64 * 1024),
)


class Wire:
    """Calls methods of services. Channels are made at first use, inside the loop that uses them, and kept."""

    def __init__(self, addresses: Addresses, timeout: float, patience: float) -> None:
        self.addresses = addresses
        self.timeout = timeout
        self.patience = patience
        self._channels: dict[str, Any] = {}
        self._answered: set[str] = set()
        self._away: set[str] = set()
        self._metadata = (("authorization", f"Bearer {addresses.token}"),) if addresses.token else None

    async def close(self) -> None:
        """Closes all channels."""
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            await channel.close()

    def anywhere(self) -> list[str]:
        """Addresses of all services, those that were away when last asked at the end. Any may answer for any job."""
        return sorted(self.addresses.of.values(), key=lambda address: address in self._away)

    def _channel(self, address: str) -> Any:
        if address not in self._channels:
            self._channels[address] = self._dial(address)
        return self._channels[address]

    def _dial(self, address: str) -> grpc.aio.Channel:
        local = address.rpartition(":")[0] in {"127.0.0.1", "localhost", "[::1]"}
        options = [*_OPTIONS, ("grpc.enable_http_proxy", 0)] if local else _OPTIONS
        credentials = self.addresses.credentials()
        if credentials is None:
            return grpc.aio.insecure_channel(address, options=options)
        return grpc.aio.secure_channel(address, credentials, options=options)

    async def call(
        self,
        method: Method[Req, Resp],
        request: Req,
        addresses: Sequence[str] | str,
        timeout: float | None = None,
        *,
        patient: bool = True,
    ) -> Resp:
        """Calls a unary method and returns its answer.

        Args:
            method: What to call.
            request: What to say.
            addresses: Where; of several, the next one is asked when one is away.
            timeout: Seconds for one attempt; default the client's.
            patient: False to ask each address once.

        Raises:
            DragomanError: The typed error of the server or the transport. UNAVAILABLE is tried again with back-off for
                as long as the client's patience, or for two seconds while no server has ever answered.
        """
        where = [addresses] if isinstance(addresses, str) else list(addresses)
        start, pause, attempt = time.monotonic(), 0.1, 0
        while True:
            address = where[attempt % len(where)]
            try:
                answer = await self._once(method, request, address, timeout or self.timeout)
            except grpc.aio.AioRpcError as failure:
                attempt += 1
                self._note(address, failure)
                error = error_of(failure, doing=method.name, address=address)
                last = attempt >= len(where) and not patient
                if last or not self._again(method, failure, start, where):
                    raise error from failure
                if attempt % len(where) == 0:
                    await asyncio.sleep(max(retry_delay(failure), pause * random.uniform(0.5, 1.5)))
                    pause = min(2.0, pause * 2)
            else:
                self._note(address)
                return answer

    def _note(self, address: str, failure: Any = None) -> None:
        if failure is None:
            self._answered.add(address)
            self._away.discard(address)
        elif failure.code() is grpc.StatusCode.UNAVAILABLE:
            self._away.add(address)

    def _again(self, method: Method[Any, Any], failure: Any, start: float, where: Sequence[str]) -> bool:
        patience = self.patience if self._answered.intersection(where) else min(self.patience, _FIRST_PATIENCE)
        away = failure.code() is grpc.StatusCode.UNAVAILABLE
        return away and method.idempotent and time.monotonic() - start < patience

    async def _once(self, method: Method[Req, Resp], request: Req, address: str, timeout: float) -> Resp:
        call = self._channel(address).unary_unary(method.path, *_codec(method))
        return await call(request, timeout=timeout, metadata=self._metadata)

    async def stream(
        self, method: Method[Req, Resp], request: Req, address: str, silence: float
    ) -> AsyncGenerator[Resp]:
        """Calls a streaming method once and yields its answers.

        Raises:
            Unavailable: The connection broke, or nothing came for `silence` seconds.
            DragomanError: The typed error of the server.
        """
        call = self._channel(address).unary_stream(method.path, *_codec(method))(request, metadata=self._metadata)
        try:
            while True:
                answer = await asyncio.wait_for(call.read(), silence)
                if answer is _EOF:
                    return
                self._note(address)
                yield answer
        except grpc.aio.AioRpcError as failure:
            self._note(address, failure)
            raise error_of(failure, doing=method.name, address=address) from failure
        except TimeoutError as error:
            self._away.add(address)
            raise Unavailable(f"{address} said nothing for {silence:g} s in {method.name}") from error
        finally:
            call.cancel()


def _codec(method: Method[Any, Any]) -> tuple[Any, Any]:
    return method.request.SerializeToString, method.response.FromString


class Patience:
    """Back-off between attempts of something that makes progress now and then."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._start: float | None = None
        self._pause = 0.1

    def progressed(self) -> None:
        """Something went well: the limit counts from the next failure."""
        self._start, self._pause = None, 0.1

    async def after(self, error: DragomanError) -> None:
        """Sleeps before the next attempt. Raises the error when it is not Unavailable, or has gone on for too long."""
        self._start = self._start or time.monotonic()
        if not isinstance(error, Unavailable) or time.monotonic() - self._start > self._limit:
            raise error
        await asyncio.sleep(self._pause * random.uniform(0.5, 1.5))
        self._pause = min(2.0, self._pause * 2)
