"""What runs inside a worker's child process: one job kind's `run`, with uploads and checkpoints."""

import contextlib
import ctypes
import logging
import os
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from dragoman import tracing
from dragoman.artifacts import PartInfo
from dragoman.errors import DragomanError, FailureClass, TaskError, Unavailable
from dragoman.kinds import AnyKind, Checkpoint, Context, Part, Progress, Task
from dragoman.metrics import METRICS
from dragoman.principals import Work
from dragoman.records import RECEIPT
from dragoman.redaction import redact
from dragoman.store import Store
from dragoman.telemetry import JsonLines, task_logging
from dragoman.worker.messages import RUN, SAID, Run, Said

_PR_SET_PDEATHSIG = 1
_LONGEST_LINE = 16_384
_SAYING = threading.Lock()


def serve_tasks(kinds: Sequence[AnyKind], store: Store) -> int:
    """Reads tasks from standard input until it closes; answers on the original standard output."""
    answers = _claim_stdout()
    _die_with_parent()
    by_name = {kind.name: kind for kind in kinds}
    _say(answers, Said("ready"))
    for line in sys.stdin.buffer:
        run = RUN.load(line)
        Work.namespace = run.namespace
        with (
            task_logging(run.job_id, f"{run.stage}-{run.index}"),
            _told_to_worker(answers),
            tracing.span(f"run {run.kind}", parent=run.trace),
        ):
            said = _do(run, by_name[run.kind], store, answers)
        tracing.flush()
        _say(answers, said)
    return 0


def _do(run: Run, kind: AnyKind, store: Store, answers: BinaryIO) -> Said:
    try:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="task-") as scratch:
            parts = tuple(_run(run, kind, store, Path(scratch), answers))
        return Said("done", parts=parts, seconds=time.monotonic() - began, peak_bytes=_peak_bytes())
    except TaskError as error:
        return _failed(error.reason, error.message, error.failure_class)
    except Unavailable as error:
        return _failed(error.reason, error.message, FailureClass.TRANSIENT)
    except DragomanError as error:
        return _failed(error.reason, error.message, FailureClass.USER)
    except MemoryError as error:
        message = f"the task ran out of memory ({error}); make its tasks or batches smaller, or the machine larger"
        return _failed("OUT_OF_MEMORY", message, FailureClass.SYSTEM)
    except Exception as error:  # noqa: BLE001  whatever a kind raises is this task's failure, told in full
        return _failed("TASK_FAILED", f"{type(error).__name__}: {error}", FailureClass.SYSTEM)


def _peak_bytes() -> int:
    """Linux counts kibibytes, macOS bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _failed(reason: str, message: str, failure_class: FailureClass) -> Said:
    debug = redact(traceback.format_exc())
    return Said("failed", reason=reason, message=redact(message), failure_class=failure_class, debug=debug)


def _run(run: Run, kind: AnyKind, store: Store, scratch: Path, answers: BinaryIO) -> list[PartInfo]:
    task = Task(run.stage, run.index, run.payload)
    parts: list[PartInfo] = []
    for said in kind.run(kind.spec.model_validate(run.spec), _context(run, task, store, scratch)):
        if isinstance(said, Progress):
            metrics = dict(said.metrics)
            _say(answers, Said("progress", said.done, said.total, said.unit, redact(said.message), metrics))
        elif isinstance(said, Part):
            parts.append(store.put_part(run.job_id, said, run.stage, run.index))
            _say(answers, Said("part"))
        else:
            assert isinstance(said, Checkpoint), f"{kind.name}.run yielded {type(said).__name__}"
            store.put_checkpoint(run.job_id, task.id, said.path)
            _say(answers, Said("checkpoint"))
    return parts


def _context(run: Run, task: Task, store: Store, scratch: Path) -> Context:
    parts = _earlier_parts(run, store)
    work = scratch / "work"
    work.mkdir()
    return Context(
        job_id=run.job_id,
        task=task,
        inputs={role: store.artifact(id_) for role, id_ in run.inputs.items()},
        parts=parts,
        own=store.uncommitted(run.job_id, [part for stage in parts.values() for part in stage]),
        checkpoint=store.get_checkpoint(run.job_id, task.id, scratch),
        scratch=work,
    )


def _earlier_parts(run: Run, store: Store) -> Mapping[int, Sequence[PartInfo]]:
    if run.stage == 0:
        return {}
    receipts = {r.task_id: r for r in (RECEIPT.parse(value) for value in store.list_receipts(run.job_id))}
    return {
        stage: [part for index in range(size) for part in receipts[f"{stage}-{index}"].parts]
        for stage, size in enumerate(run.stage_sizes[: run.stage])
    }


def _say(answers: BinaryIO, said: Said) -> None:
    with _SAYING:
        answers.write(SAID.dump(replace(said, counted=METRICS.drain())) + b"\n")
        answers.flush()


@contextlib.contextmanager
def _told_to_worker(answers: BinaryIO) -> Generator[None]:
    """Sends every record logged inside to the worker, from whatever thread, beside where logs go anyway."""
    handler = _ToWorker(answers)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


class _ToWorker(logging.Handler):
    def __init__(self, answers: BinaryIO) -> None:
        super().__init__()
        self._answers = answers
        self.setFormatter(JsonLines("", longest=_LONGEST_LINE))

    def emit(self, record: logging.LogRecord) -> None:
        _say(self._answers, Said("log", message=self.format(record)))


def _claim_stdout() -> BinaryIO:
    """Keeps the pipe to the worker for ourselves: whatever a library prints goes to standard error."""
    pipe = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(pipe, "wb")


def _die_with_parent() -> None:
    """A worker that is killed must not leave a child that computes on: the kernel ends it with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = int(os.environ.get("DRAGOMAN_PARENT_PID", "0"))
    if parent and os.getppid() != parent:
        raise SystemExit(1)
    threading.Thread(target=_watch_parent, args=(os.getppid(),), daemon=True).start()


def _watch_parent(parent: int) -> None:
    """The same where the kernel offers no such signal, and where the thread that started us ended first."""
    pause = threading.Event()
    while os.getppid() == parent:
        pause.wait(1.0)
    os._exit(1)
