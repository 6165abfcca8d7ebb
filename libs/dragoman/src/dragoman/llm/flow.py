"""How full an engine is kept, as metrics whose rates are averages over time."""

import time

from dragoman.metrics import METRICS


class Flow:
    """The prompts of one call: some allowed at once, the others waiting."""

    def __init__(self, allowed: int, waiting: int) -> None:
        self._allowed, self._waiting = allowed, waiting
        self._since = time.monotonic()

    def take(self) -> None:
        """One prompt waits no more."""
        self.tell()
        self._waiting -= 1

    def tell(self) -> None:
        """Counts the time since the last change."""
        now = time.monotonic()
        METRICS.llm_queued_seconds.inc(self._waiting * (now - self._since))
        METRICS.llm_allowed_seconds.inc(self._allowed * (now - self._since))
        self._since = now
