"""The worker: fetches one task at a time per slot and has a child process do it.

`loop` talks to NATS and never computes; `child` computes and never talks to NATS; `subprocess` is the pipe between.
"""

from dragoman.worker.config import WorkerConfig
from dragoman.worker.loop import Worker

__all__ = ["Worker", "WorkerConfig"]
