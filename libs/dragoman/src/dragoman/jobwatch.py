"""What the logs say of jobs, as far as the caller may know of them: events as they come, and dead letters."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from dragoman.bus import Bus
from dragoman.jobaccess import JobAccess
from dragoman.jobs import DeadLetter, EventType, JobEvent
from dragoman.ledger import Ledger
from dragoman.records import DEAD_LETTER
from dragoman.rpc.wire import event_from_bytes

_BATCH = 200
_QUIET_S = 0.5
_ENDS = {EventType.COMMITTED, EventType.FAILED, EventType.CANCELLED}


@dataclass
class _Watched:
    """The jobs of a watch that are open, and those of which the log has told an end."""

    open: set[str]
    told: set[str] = field(default_factory=set[str])

    def hear(self, event: JobEvent) -> None:
        """Takes note of an event."""
        if event.type in _ENDS:
            self.told.add(event.job_id)
        elif event.type is EventType.RETRIED:
            self.told.discard(event.job_id)


class JobWatch:
    """Reads the event log and the dead-letter log."""

    def __init__(self, bus: Bus, ledger: Ledger, access: JobAccess) -> None:
        self._bus = bus
        self._ledger = ledger
        self._access = access

    async def events(self, job_ids: Sequence[str], cursor: int, follow: bool) -> AsyncIterator[JobEvent]:
        """See Desk.watch. Survives a restart of NATS: the reader is made anew after the last cursor."""
        for job_id in job_ids:
            await self._access.visible(job_id)
        filters = [self._bus.subject("events", "*", job_id, ">") for job_id in job_ids]
        filters = filters or [self._bus.subject("events", ">")]
        watched = _Watched(set(job_ids))
        while True:
            reader = await self._bus.reader(self._bus.stream("EVENTS"), filters, cursor)
            try:
                while True:
                    messages = await _fetched(reader)
                    for event in (event_from_bytes(m.data, m.metadata.sequence.stream) for m in messages):
                        cursor = event.cursor
                        watched.hear(event)
                        if await self._access.may_know(event.job_id):
                            yield event
                    if not follow and await self._over(watched, quiet=not messages):
                        return
            except (nats.errors.Error, nats.js.errors.Error, ConnectionError):
                await asyncio.sleep(0.3)
            finally:
                await _leave(reader)

    async def _over(self, watched: _Watched, quiet: bool) -> bool:
        """True when the log is quiet and all jobs had ended before: what is told after an end was told, too."""
        if quiet and not watched.open:
            return True
        if quiet or watched.open <= watched.told:
            watched.open = {id_ for id_ in watched.open if not (await self._ledger.get(id_)).state.terminal}
        return False

    async def dead_letters(self, job_id: str, page_size: int) -> Sequence[DeadLetter]:
        """See Desk.dead_letters. Newest first."""
        filters = [self._bus.subject("dead", "*", "*", job_id) if job_id else self._bus.subject("dead", ">")]
        reader = await self._bus.reader(self._bus.stream("DEAD"), filters, 0)
        newest: deque[DeadLetter] = deque(maxlen=page_size)
        try:
            while messages := await _fetched(reader):
                for letter in (DEAD_LETTER.load(message.data) for message in messages):
                    if await self._access.may_know(letter.job_id):
                        newest.append(letter)
            return list(newest)[::-1]
        finally:
            await _leave(reader)


async def _fetched(reader: JetStreamContext.PullSubscription) -> Sequence[Msg]:
    """Returns what a log has next; nothing when it was quiet for a moment."""
    try:
        return await reader.fetch(_BATCH, timeout=_QUIET_S)
    except (TimeoutError, nats.errors.TimeoutError):
        return ()


async def _leave(reader: JetStreamContext.PullSubscription) -> None:
    try:
        await reader.unsubscribe()
    except (nats.errors.Error, ConnectionError):
        return
