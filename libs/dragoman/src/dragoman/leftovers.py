"""What the store may hold of jobs that NATS knows nothing of: artifacts and receipts from before its present state."""

import asyncio

from dragoman.bus import Bus
from dragoman.store import Store


class Leftovers:
    """Ids of jobs with objects in the store, listed once for each connection to NATS.

    Whatever was made since, by whichever process, was made by a job that NATS has a record of. So of a new job that is
    not among these the store holds nothing, and submitting it need not ask. NATS loses its state only by a restart, and
    a restart ends the connection. Objects that others bring into the bucket meanwhile are not seen: after a restore
    `dragoman rebuild` makes records for them. A job that nothing was known of is done again and finds, at its commit,
    the artifact that is there.
    """

    def __init__(self, kinds: tuple[str, ...], bus: Bus, store: Store) -> None:
        self._kinds = kinds
        self._bus = bus
        self._store = store
        self._ids = frozenset[str]()
        self._connection = -1
        self._lock = asyncio.Lock()

    async def may_hold(self, job_id: str) -> bool:
        """True when the store may hold something of a job without a record."""
        async with self._lock:
            if self._connection != self._bus.connection:
                connection = self._bus.connection
                self._ids = await asyncio.to_thread(self._store.job_ids, self._kinds)
                self._connection = connection
        return job_id in self._ids
