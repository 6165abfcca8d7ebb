"""Threads that share a batch: each takes the next tile when it is done with its last, and no one waits for another."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

_Result = TypeVar("_Result")


class Workers:
    """As many threads as PyTorch has, each of which runs PyTorch's kernels alone.

    Kernels on separate tiles need no barrier. With a barrier in each product, a core that is busy with something else
    holds up all others every time.
    """

    def __init__(self) -> None:
        """Starts the threads, none where PyTorch has a single one."""
        self.count = torch.get_num_threads()
        self._pool = self._started() if self.count > 1 else None

    def each(self, task: Callable[[int], _Result], count: int) -> list[_Result]:
        """Runs the task for 0..count-1, several at a time in any order, and returns what they gave, in order."""
        if self._pool is None:
            return [task(place) for place in range(count)]
        return list(self._pool.map(task, range(count)))

    def _started(self) -> ThreadPoolExecutor:
        begun = threading.Barrier(self.count + 1)
        pool = ThreadPoolExecutor(self.count, "coder", torch.set_num_threads, (1,))
        for _ in range(self.count):
            pool.submit(begun.wait)
        begun.wait()
        torch.set_num_threads(self.count)  # what a thread sets, threads that are not yet there get too
        return pool
