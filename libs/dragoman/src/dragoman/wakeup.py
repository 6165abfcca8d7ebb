"""Two loops of a server: one wakes jobs when an event says so, one mends what no event will say again."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Mapping

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg

from dragoman.bus import Bus
from dragoman.errors import DragomanError
from dragoman.jobindex import JobIndex
from dragoman.jobs import EventType, JobRecord, JobState
from dragoman.ledger import Ledger
from dragoman.metrics import METRICS
from dragoman.planner import Planner

_LOG = logging.getLogger(__name__)
_WAKING = (EventType.COMMITTED, EventType.FAILED, EventType.CANCELLED, EventType.RETRIED)
_TROUBLE = (DragomanError, nats.errors.Error, nats.js.errors.Error, ConnectionError, asyncio.TimeoutError)


async def wake_on_events(service: str, bus: Bus, ledger: Ledger, planner: Planner, stop: asyncio.Event) -> None:
    """Examines the jobs that wait for what was just committed, failed, cancelled or retried. Runs until stopped."""
    filters = [bus.subject("events", "*", "*", type_.value) for type_ in _WAKING]
    consumer = await bus.log_consumer("EVENTS", f"planner-{service}", filters)
    while not stop.is_set():
        try:
            for message in await consumer.fetch(50, timeout=2):
                await _wake(message, ledger, planner)
                await message.ack()
        except (TimeoutError, nats.errors.TimeoutError):
            continue
        except nats.js.errors.NotFoundError:
            await bus.bootstrap()
            consumer = await bus.log_consumer("EVENTS", f"planner-{service}", filters)
        except _TROUBLE as error:
            _LOG.warning("could not read events: %s", error or type(error).__name__)
            await asyncio.sleep(0.5)


async def _wake(message: Msg, ledger: Ledger, planner: Planner) -> None:
    job_id, event = message.subject.split(".")[-2:]
    if event == EventType.RETRIED.value:
        await planner.examine(job_id)
    for waiting in await ledger.waiting_on(job_id):
        await planner.examine(waiting)


async def mend_regularly(
    service: str, bus: Bus, index: JobIndex, planner: Planner, every: float, stop: asyncio.Event
) -> None:
    """Repairs this service's open jobs that did not change since the last look. Runs until stopped."""
    before: dict[str, int] = {}
    while not stop.is_set():
        await asyncio.sleep(every)
        try:
            await _count_queue(service, bus)
            await _free_exhausted(service, bus)
            jobs = await index.refresh()
            _count_by_state(service, jobs)
            open_jobs = {id_: job for id_, job in jobs.items() if job.service == service and not job.state.terminal}
            still = [job for job_id, job in open_jobs.items() if before.get(job_id) == job.revision]
            queued = await bus.queued_of(service) if still else None
            for job in still:
                await planner.repair(job, queued)
            before = {id_: job.revision for id_, job in open_jobs.items()}
        except _TROUBLE as error:
            _LOG.warning("could not look for lost work: %s", error or type(error).__name__)


def _count_by_state(service: str, jobs: Mapping[str, JobRecord]) -> None:
    counts = Counter((job.kind, job.state) for job in jobs.values() if job.service == service)
    for kind in {kind for kind, _ in counts}:
        for state in JobState:
            METRICS.jobs.labels(service, kind, state.value).set(counts[kind, state])


async def _count_queue(service: str, bus: Bus) -> None:
    try:
        waiting, running, stranded = await bus.queue_depth(service)
    except nats.js.errors.NotFoundError:  # no worker has ever been there
        return
    METRICS.queue_waiting.labels(service).set(waiting)
    METRICS.queue_running.labels(service).set(running)
    METRICS.queue_stranded.labels(service).set(stranded)


async def _free_exhausted(service: str, bus: Bus) -> None:
    """Takes messages off the work queue whose deliveries are used up: they would lie there unseen and block their task.

    The repair that follows publishes the task anew; its attempts are counted in the ledger and go on.
    """
    subject = f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{bus.stream('TASKS')}.{service}"
    consumer = await bus.log_consumer("ADVISORIES", f"exhausted-{service}", [subject])
    try:
        messages = await consumer.fetch(50, timeout=0.2)
    except (TimeoutError, nats.errors.TimeoutError):
        return
    for message in messages:
        sequence = json.loads(message.data)["stream_seq"]
        try:
            await bus.js.delete_msg(bus.stream("TASKS"), sequence)
        except nats.js.errors.APIError as error:
            _LOG.info("message %d is gone already: %s", sequence, error)
        await message.ack()
