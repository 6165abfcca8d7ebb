"""A job kind for testing the shell: its tasks write known bytes, and fail in the ways that a test asks for."""

import hashlib
import logging
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dragoman.artifacts import InputInfo, PartInfo
from dragoman.errors import InvalidSpec, SystemTaskError, TransientTaskError, UserTaskError
from dragoman.kinds import Checkpoint, Context, Part, Progress, Spec, Stage, Summary

_LOG = logging.getLogger(__name__)


class ProbeSpec(Spec):
    """What the tasks do."""

    text: str
    task_count: int = 3
    steps: int = 3
    step_seconds: float = 0.0
    fail: str = ""
    """"", "crash", "raise", "user", "transient", "hang"; "stumble": one step an attempt, then a crash."""
    fail_while: str = ""
    """The failing task fails while this file exists; empty means always."""
    input_ids: tuple[str, ...] = ()
    combine_seconds: float = 0.0


class ProbeKind:
    """Two stages: tasks that each write lines, then one that joins them."""

    name = "probe"
    version = 1
    description = "Writes known bytes."
    spec = ProbeSpec
    input_kinds: Mapping[str, str] = {"input": "probe"}

    def inputs(self, spec: ProbeSpec) -> Mapping[str, str]:
        return {f"input.{n}": id_ for n, id_ in enumerate(spec.input_ids)}

    def resolve(self, spec: ProbeSpec) -> ProbeSpec:
        if spec.text == "unresolvable":
            raise InvalidSpec("there is no such text; write another", field="text")
        return spec

    def check(self, spec: ProbeSpec, inputs: Mapping[str, InputInfo]) -> None:
        for role, info in inputs.items():
            if info.spec["text"] == "unfit":
                raise InvalidSpec("its text is unfit", field=role)

    def plan(self, spec: ProbeSpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        return [Stage("write", [{"n": n} for n in range(spec.task_count)]), Stage("join", [{}])]

    def run(self, spec: ProbeSpec, context: Context) -> Iterator[Progress | Part | Checkpoint]:
        if context.task.stage == 1:
            yield from self._join(context)
            return
        number = context.task.index
        start = int(context.checkpoint.read_text()) if context.checkpoint else 0
        for step in range(start, spec.steps):
            _LOG.info("step %d", step)
            time.sleep(spec.step_seconds)
            if number == 0 and step == spec.steps // 2:
                misbehave(spec)
            if spec.fail == "stumble" and step > start:
                os.kill(os.getpid(), signal.SIGKILL)
            yield Progress(step + 1, spec.steps, "steps", f"started at {start}", {"step": float(step)})
            saved = context.scratch / "checkpoint"
            saved.write_text(str(step + 1))
            yield Checkpoint(saved)
        lines = "".join(f"{spec.text} {number} {step}\n" for step in range(spec.steps))
        yield Part(f"lines-{number}.txt", data=lines.encode(), row_count=spec.steps, keep=False)

    def _join(self, context: Context) -> Iterator[Progress | Part | Checkpoint]:
        joined = b"".join(context.own.read(part.name) for part in context.parts[0])
        joined += b"".join(artifact.read("all.txt") for artifact in context.inputs.values())
        yield Part("all.txt", data=joined, row_count=joined.count(b"\n"))

    def combine(self, spec: ProbeSpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        time.sleep(spec.combine_seconds)
        return Summary({"line_count": sum(p.row_count for p in parts if p.keep), "digest": digest(parts)})


class EmptySpec(Spec):
    """Another text is another job."""

    text: str
    task_count: int = 1


class EmptyKind:
    """Tasks that do nothing and make nothing: what is left is the shell."""

    name = "empty"
    version = 1
    description = "Does nothing."
    spec = EmptySpec
    input_kinds: Mapping[str, str] = {}

    def inputs(self, spec: EmptySpec) -> Mapping[str, str]:
        return {}

    def resolve(self, spec: EmptySpec) -> EmptySpec:
        return spec

    def check(self, spec: EmptySpec, inputs: Mapping[str, InputInfo]) -> None:
        return

    def plan(self, spec: EmptySpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        return [Stage("nothing", [{} for _ in range(spec.task_count)])]

    def run(self, spec: EmptySpec, context: Context) -> Iterator[Progress | Part | Checkpoint]:
        yield from ()

    def combine(self, spec: EmptySpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        return Summary({})


def misbehave(spec: ProbeSpec) -> None:
    """Fails as the spec says."""
    if not spec.fail or (spec.fail_while and not Path(spec.fail_while).exists()):
        return
    if spec.fail == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if spec.fail == "raise":
        raise SystemTaskError("the probe broke on purpose")
    if spec.fail == "user":
        raise UserTaskError("the probe's input is wrong; give it another")
    if spec.fail == "transient":
        raise TransientTaskError("the probe's neighbour was away")
    if spec.fail == "hang":
        time.sleep(3600)


def digest(parts: Sequence[PartInfo]) -> str:
    """One hash over all parts, intermediates included."""
    return hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest()
