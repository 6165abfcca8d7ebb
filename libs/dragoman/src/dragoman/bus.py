"""The bus: one work queue, one event log, one dead-letter log and a few key-value buckets on NATS JetStream.

Measured facts of NATS that shape this file:

* A work-queue stream that keeps one message per subject refuses a second copy of a task, for as long as the first is
  not acknowledged. That is the idempotency of enqueueing; the two-minute dedup window is not used.
* `ack()` only buffers; `ack_sync()` is what a worker may rely on.
* A consumer's BackOff would replace its AckWait, so none is set; delays are given with each nak.
* Lease buckets expire by the bucket's TTL and are renewed by a plain put; a per-key TTL would be lost by an update.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client as NatsClient
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, KeyValueConfig, StreamConfig
from nats.js.kv import KeyValue

from dragoman import topology, tracing
from dragoman.client_tls import ClientTls
from dragoman.errors import ResourceExhausted, Unavailable

T = TypeVar("T")
_LOG = logging.getLogger(__name__)

_STORE_FAILED = 10077
"""JetStream's error code for a message that a stream's limits refuse."""
_NO_ROOM = 10047
"""That for a stream whose bounds it cannot reserve."""

_NAMES_AT_MOST = 100_000
"""Subjects that NATS lists in one answer."""

_AWAY = (
    nats.errors.TimeoutError,
    nats.errors.NoRespondersError,
    nats.errors.ConnectionReconnectingError,
    nats.errors.DrainTimeoutError,
    nats.js.errors.ServiceUnavailableError,
    nats.js.errors.NoStreamResponseError,
    ConnectionError,
    asyncio.TimeoutError,
)


@dataclass(frozen=True, slots=True)
class BusConfig:
    """Where NATS is and how patient to be. Times in seconds."""

    url: str = "nats://127.0.0.1:4222"
    """One server, or several with commas between them; `tls://` for TLS."""
    namespace: str = "dragoman"
    user: str = ""
    password: str = field(default="", repr=False)
    tls: ClientTls | None = None
    """None: the system's authorities, and only where the address begins with tls://."""
    ack_wait: float = 30.0
    lease: float = 30.0
    replicas: int = 1
    patience: float = 60.0
    """How long an operation is retried while the server is away."""


class Bus:
    """A connection to NATS with the names that Dragoman uses. One per process, on one event loop."""

    def __init__(self, config: BusConfig) -> None:
        self.config = config
        self.closed = asyncio.Event()
        self.connection = 0
        """Grows whenever the connection was lost and is there again: the server may have begun anew."""
        self._nc: NatsClient | None = None
        self._js: JetStreamContext | None = None
        self._buckets: dict[str, KeyValue] = {}
        self._closing = False
        self._trouble = ""

    async def connect(self) -> None:
        """Connects and makes sure that streams and buckets exist. Raises Unavailable when NATS cannot be reached."""
        deadline = time.monotonic() + self.config.patience
        while True:
            try:
                async with asyncio.timeout(max(0.1, deadline - time.monotonic())):  # the client itself never gives up
                    self._nc = await self._dial()
                self._js = self._nc.jetstream(timeout=5)
                await self.bootstrap()
                return
            except (*_AWAY, nats.errors.NoServersError, OSError) as error:
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"NATS at {self.config.url} cannot be reached ({self._trouble or error or type(error).__name__}"
                        "). Start it (`dragoman up` does on a laptop) or set DRAGOMAN_NATS_URL"
                    ) from error
                await asyncio.sleep(0.3)

    async def _dial(self) -> NatsClient:
        async def closed() -> None:
            self.closed.set()

        async def disturbed(error: Exception) -> None:
            self._trouble = str(error) or type(error).__name__
            _LOG.debug("nats: %s", self._trouble)

        async def away() -> None:
            if not self._closing:
                _LOG.warning("nats at %s is away; trying again until it is back", self.config.url)

        async def back() -> None:
            self.connection += 1
            _LOG.info("nats at %s is back", self.config.url)

        return await nats.connect(
            [url.strip() for url in self.config.url.split(",")],
            tls=self.config.tls.context() if self.config.tls else None,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.3,
            ping_interval=20,
            connect_timeout=5,
            closed_cb=closed,
            error_cb=disturbed,
            disconnected_cb=away,
            reconnected_cb=back,
            user=self.config.user or None,
            password=self.config.password or None,
        )

    async def close(self) -> None:
        """Flushes and closes the connection; never raises for a server that is away."""
        self._closing = True
        if self._nc is None or self._nc.is_closed:
            return
        try:
            await asyncio.wait_for(self._nc.flush(2), 3)
        except (*_AWAY, nats.errors.Error) as error:
            _LOG.info("nats was away at the end: %s", error)
        await self._nc.close()

    @property
    def connected(self) -> bool:
        """True while the connection is up."""
        return self._nc is not None and self._nc.is_connected

    def trouble(self) -> str:
        """Returns why the bus cannot be used now, empty when it can."""
        return "" if self.connected else f"no connection to NATS at {self.config.url}"

    @property
    def js(self) -> JetStreamContext:
        """The JetStream context; only after connect()."""
        assert self._js is not None, "connect() first"
        return self._js

    # ------------------------------------------------------------------ names

    def stream(self, name: str) -> str:
        """Name of a stream: TASKS, EVENTS, DEAD or ADVISORIES."""
        return f"{self.config.namespace}_{name}"

    def subject(self, *tokens: str) -> str:
        """A subject under the namespace."""
        return ".".join((self.config.namespace, *tokens))

    def bucket(self, name: str) -> KeyValue:
        """A key-value bucket: jobs, requests, attempts, running or waits."""
        return self._buckets[name]

    # -------------------------------------------------------------- bootstrap

    async def bootstrap(self) -> None:
        """Creates or updates streams and buckets. Safe to repeat and to run from several processes at once.

        Raises FailedPrecondition when JetStream has no room for them.
        """
        try:
            await self._ensure_all()
        except nats.js.errors.ServerError as error:
            if error.err_code != _NO_ROOM:
                raise
            raise topology.no_room(self.config.url, self.config.namespace) from error

    async def _ensure_all(self) -> None:
        for config in topology.streams(self.config.namespace, self.config.replicas):
            await self.patiently(lambda config=config: self._ensure_stream(config))
        for config in topology.buckets(self.config.namespace, self.config.replicas, self.config.lease):
            short = config.bucket.removeprefix(f"{self.config.namespace}_")
            self._buckets[short] = await self.patiently(lambda config=config: self._ensure_bucket(config))

    async def _ensure_stream(self, config: StreamConfig) -> None:
        try:
            await self.js.add_stream(config)
        except nats.js.errors.BadRequestError:
            await self.js.update_stream(config)

    async def _ensure_bucket(self, config: KeyValueConfig) -> KeyValue:
        try:
            return await self.js.key_value(config.bucket)
        except nats.js.errors.NotFoundError:
            return await self.js.create_key_value(config)

    # ------------------------------------------------------------- operations

    async def patiently(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Runs an operation that is safe to repeat, again and again while the server is away."""
        deadline = time.monotonic() + self.config.patience
        while True:
            try:
                return await operation()
            except _AWAY as error:
                if time.monotonic() > deadline or self.closed.is_set():
                    raise Unavailable(f"NATS did not answer for {self.config.patience:.0f} s ({error})") from error
                await asyncio.sleep(0.25)

    async def enqueue(self, subject: str, payload: bytes, trace: str = "") -> bool:
        """Puts a task on the work queue. False when it is there already. Raises ResourceExhausted when it is full."""
        headers = tracing.headers(trace) or None

        async def publish() -> bool:
            try:
                await self.js.publish(subject, payload, stream=self.stream("TASKS"), timeout=5, headers=headers)
            except nats.js.errors.APIError as error:
                if error.err_code != _STORE_FAILED:
                    raise
                if "per subject" in (error.description or ""):
                    return False
                raise ResourceExhausted(f"the work queue is full ({error.description}); try again later") from error
            return True

        return await self.patiently(publish)

    async def subjects(self, stream: str, filter_: str) -> frozenset[str]:
        """Returns the subjects under a filter that hold a message."""
        info = await self.patiently(lambda: self.js.stream_info(stream, subjects_filter=filter_))
        return frozenset(info.state.subjects or {})

    async def queued(self, filter_: str) -> frozenset[str]:
        """Returns the subjects under a filter that hold a task, delivered or not."""
        return await self.subjects(self.stream("TASKS"), filter_)

    async def queued_of(self, service: str) -> frozenset[str] | None:
        """The same of all tasks of a service; None when there are more than one answer names."""
        names = await self.queued(self.subject("tasks", service, ">"))
        return names if len(names) < _NAMES_AT_MOST else None

    async def queue_depth(self, service: str) -> tuple[int, int, int]:
        """Returns how many tasks of a service wait, are with a worker, and are counted by no consumer any more."""
        stream = self.stream("TASKS")
        consumer = await self.patiently(lambda: self.js.consumer_info(stream, service))
        held = len(await self.queued(self.subject("tasks", service, ">")))
        waiting, running = consumer.num_pending or 0, consumer.num_ack_pending or 0
        return waiting, running, max(0, held - waiting - running)

    async def purge(self, stream: str, filter_: str) -> None:
        """Removes every message under a filter, delivered or not."""
        await self.patiently(lambda: self.js.purge_stream(stream, subject=filter_))

    async def publish(self, stream: str, subject: str, payload: bytes, message_id: str = "", trace: str = "") -> int:
        """Appends to a log and returns the sequence. `message_id` keeps a repeated publish from doubling it."""
        headers = {**({"Nats-Msg-Id": message_id} if message_id else {}), **tracing.headers(trace)} or None
        name = self.stream(stream)
        ack = await self.patiently(lambda: self.js.publish(subject, payload, stream=name, timeout=5, headers=headers))
        return ack.seq

    async def work_consumer(self, service: str) -> JetStreamContext.PullSubscription:
        """The durable consumer that all workers of a service share."""
        config = ConsumerConfig(
            durable_name=service,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self.config.ack_wait,
            max_deliver=100,
            max_ack_pending=1000,
            filter_subject=self.subject("tasks", service, ">"),
        )
        return await self._durable("TASKS", config)

    async def log_consumer(self, stream: str, name: str, filters: Sequence[str]) -> JetStreamContext.PullSubscription:
        """A durable consumer of a log, shared by all who use its name."""
        config = ConsumerConfig(
            durable_name=name, ack_policy=AckPolicy.EXPLICIT, ack_wait=30, max_deliver=-1, filter_subjects=list(filters)
        )
        return await self._durable(stream, config)

    async def _durable(self, stream: str, config: ConsumerConfig) -> JetStreamContext.PullSubscription:
        name = self.stream(stream)
        await self.patiently(lambda: self.js.add_consumer(name, config))
        return await self.patiently(lambda: self.js.pull_subscribe_bind(consumer=config.durable_name, stream=name))

    async def reader(
        self, stream: str, filters: Sequence[str], after: int, *, last_per_subject: bool = False
    ) -> JetStreamContext.PullSubscription:
        """An ephemeral consumer of a log or bucket after sequence `after`; needs no acknowledgements."""
        config = ConsumerConfig(
            ack_policy=AckPolicy.NONE,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE if after else DeliverPolicy.ALL,
            opt_start_seq=after + 1 if after else None,
            filter_subjects=list(filters),
            inactive_threshold=30,
            mem_storage=True,
        )
        if last_per_subject and not after:
            config.deliver_policy = DeliverPolicy.LAST_PER_SUBJECT
        info = await self.patiently(lambda: self.js.add_consumer(stream, config))
        return await self.patiently(lambda: self.js.pull_subscribe_bind(consumer=info.name, stream=stream))

    @contextlib.asynccontextmanager
    async def heard(self, subject: str) -> AsyncGenerator[asyncio.Event]:
        """Yields an event that is set whenever something is published to a subject from now on.

        What is published while the server is away is not heard: look again now and then.
        """
        assert self._nc is not None, "connect() first"
        heard = asyncio.Event()

        async def hear(_: Msg) -> None:
            heard.set()

        subscription = await self._nc.subscribe(subject, cb=hear)
        try:
            yield heard
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()
