"""How a worker behaves."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """How a worker behaves. Times in seconds."""

    slots: int = 1
    """Tasks at a time, each in a child process of its own."""
    max_attempts: int = 3
    """Runs of a task that may end in a crash, a stall or an unexpected error."""
    max_transient: int = 10
    """Runs of a task that may end because something outside was away."""
    stall: float = 900.0
    """A task that gives no sign of life for so long is stopped."""
    drain: float = 10.0
    """On SIGTERM, how long a running task may go on before it is handed back."""
    once: bool = False
    """End when nothing is queued, instead of waiting for more."""
    machine_lock: Path | None = None
    """Lock file shared by the workers of one small machine, so that they compute one at a time."""
