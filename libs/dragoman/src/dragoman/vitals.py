"""What an orchestrator asks a process: is it alive, and can it take work."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Check = Callable[[], str]
"""Returns why something that is needed cannot be used, empty when it can. May take seconds; called from a thread."""


@dataclass(slots=True)
class Vitals:
    """Life and readiness of one process. Alive: its event loop turns. Ready: each check passes.

    Liveness asks nothing of the world outside, so that no outage of NATS or the store makes Kubernetes restart
    processes that are in order.
    """

    checks: Mapping[str, Check]
    patience: float = 60.0
    """Seconds without a turn of the event loop after which the process is taken for dead."""
    remember: float = 5.0
    """Seconds for which a check's answer is reused, so that probes cost the store nothing."""
    clock: Callable[[], float] = time.monotonic
    _beat: float = field(init=False, default=0.0)
    _stopping: bool = field(init=False, default=False)
    _answers: dict[str, tuple[float, str]] = field(init=False, default_factory=dict[str, tuple[float, str]])
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._beat = self.clock()

    def beat(self) -> None:
        """Says that the event loop turns."""
        self._beat = self.clock()

    def stop(self) -> None:
        """Says that the process takes no more work; it stays alive until it has drained."""
        self._stopping = True

    def dead(self) -> str:
        """Returns why the process should be restarted, empty when it should not."""
        silent = self.clock() - self._beat
        return f"the event loop has not turned for {silent:.0f} s" if silent > self.patience else ""

    def unready(self) -> Mapping[str, str]:
        """Returns what keeps the process from taking work, by name; empty when nothing does."""
        found = {"process": "it is stopping"} if self._stopping else {}
        for name, check in self.checks.items():
            answer = self._ask(name, check)
            if answer:
                found[name] = answer
        return found

    def _ask(self, name: str, check: Check) -> str:
        with self._lock:
            asked, answer = self._answers.get(name, (float("-inf"), ""))
            if self.clock() - asked >= self.remember:
                answer = check()
                self._answers[name] = (self.clock(), answer)
            return answer
