"""Stages: a spec is cut into tasks, and what a record holds of them."""

from collections.abc import Container, Mapping, Sequence

from dragoman.artifacts import InputInfo
from dragoman.errors import InvalidSpec
from dragoman.ids import Json
from dragoman.jobs import StageRecord
from dragoman.kinds import AnyKind, Spec, Stage
from dragoman.task_set import TaskSet

MAX_TASKS = 10_000
"""Tasks in a stage; a plan with more is refused."""


def plan_stages(kind: AnyKind, spec: Mapping[str, Json], infos: Mapping[str, InputInfo]) -> Sequence[Stage]:
    """Checks a spec against its committed inputs and cuts it into stages. Raises InvalidSpec."""
    parsed = kind.spec.model_validate(spec)
    kind.check(parsed, infos)
    return cut(kind, parsed, infos)


def cut(kind: AnyKind, spec: Spec, infos: Mapping[str, InputInfo]) -> Sequence[Stage]:
    """Returns the stages of a spec that was checked. Raises InvalidSpec when there are too many tasks."""
    stages = kind.plan(spec, infos)
    for stage in stages:
        if not 0 < len(stage.tasks) <= MAX_TASKS:
            raise InvalidSpec(
                f"stage {stage.name!r} has {len(stage.tasks)} tasks; expected 1 to {MAX_TASKS}: make tasks larger"
            )
    return stages


def planned(stages: Sequence[Stage], done: Container[str]) -> tuple[StageRecord, ...]:
    """Returns what a record holds of stages of which some tasks are done."""
    return tuple(
        StageRecord(s.name, len(s.tasks), TaskSet.of(i for i in range(len(s.tasks)) if f"{n}-{i}" in done))
        for n, s in enumerate(stages)
    )
