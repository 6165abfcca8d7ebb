"""What a worker and its child say to each other: JSON lines over the child's standard input and output."""

from dataclasses import dataclass, field
from typing import Literal

from dragoman.artifacts import PartInfo
from dragoman.errors import FailureClass
from dragoman.ids import Json
from dragoman.records import Codec


@dataclass(frozen=True, slots=True)
class Run:
    """Worker to child: do this task."""

    job_id: str
    kind: str
    spec: dict[str, Json]
    inputs: dict[str, str]
    stage: int
    index: int
    payload: dict[str, Json]
    stage_sizes: list[int]
    namespace: str = ""
    """Whose job it is."""
    trace: str = ""
    """W3C traceparent of the attempt; empty where nothing is traced."""


@dataclass(frozen=True, slots=True)
class Said:
    """Child to worker: a sign of life with whatever it means."""

    type: Literal["ready", "progress", "part", "checkpoint", "done", "failed", "stopped", "log"]
    done: float = 0.0
    total: float = 0.0
    unit: str = ""
    message: str = ""
    metrics: dict[str, float] = field(default_factory=dict[str, float])
    parts: tuple[PartInfo, ...] = ()
    reason: str = ""
    failure_class: FailureClass = FailureClass.SYSTEM
    debug: str = ""
    seconds: float = 0.0
    peak_bytes: int = 0
    counted: list[tuple[str, dict[str, str], float]] = field(default_factory=list[tuple[str, dict[str, str], float]])
    """By how much the child's metrics grew since it last said anything."""


RUN = Codec(Run)
SAID = Codec(Said)
