"""Progress of downloads."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

ProgressFn = Callable[[str, int, int], None]
"""Called with (stage, bytes done, bytes in all)."""


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""


@contextmanager
def bar(label: str, console: Console | None = None) -> Generator[ProgressFn]:
    """A progress bar on standard error, with size, speed and time left; yields the function to report to."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console or Console(stderr=True)) as progress:
        task = progress.add_task(label, total=None)

        def report(stage: str, done: int, total: int) -> None:
            progress.update(task, description=f"{label}: {stage}", completed=done, total=total)

        yield report
