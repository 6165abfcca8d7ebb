"""A job kind: three functions and a spec. Everything else about a job is the shell's."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from dragoman.artifacts import Artifact, InputInfo, PartInfo
from dragoman.ids import Json


class Spec(BaseModel):
    """Base of every spec: immutable, strict about unknown fields, defaults written out when dumped."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=Spec)


@dataclass(frozen=True, slots=True)
class Task:
    """A slice of a job that one worker finishes in seconds to minutes.

    Stages run one after the other; the tasks of a stage run in any order, anywhere.
    """

    stage: int
    index: int
    payload: Mapping[str, Json] = field(default_factory=dict[str, Json])

    @property
    def id(self) -> str:
        """Name inside the job: ``<stage>-<index>``."""
        return f"{self.stage}-{self.index}"


@dataclass(frozen=True, slots=True)
class Stage:
    """Tasks that may run side by side, under a name a user understands ("forward", "train")."""

    name: str
    tasks: Sequence[Mapping[str, Json]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a task is. Any yield counts as a sign of life; yield at least every few seconds of work."""

    done: float
    total: float
    unit: str = "items"
    message: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Part:
    """A file to store. The shell hashes and uploads it; the file may be removed after the yield returns.

    Give ``path`` (preferred for large data) or ``data``. With ``keep=False`` it is an intermediate that later
    stages can read and that the committed manifest does not list.
    """

    name: str
    path: Path | None = None
    data: bytes | None = None
    row_count: int = 0
    metadata: Mapping[str, Json] = field(default_factory=dict[str, Json])
    keep: bool = True


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """State from which another process can resume this task. One file (safetensors or JSON), the newest wins."""

    path: Path


@dataclass(frozen=True, slots=True)
class Context:
    """What a running task may touch."""

    job_id: str
    task: Task
    inputs: Mapping[str, Artifact]
    """Role to committed input."""
    parts: "Mapping[int, Sequence[PartInfo]]"
    """Stage to the parts that its tasks made, ordered by (task index, order of yield); only earlier stages."""
    own: Artifact
    """Reads this job's own earlier parts, kept or not, by part name."""
    checkpoint: Path | None
    """Local copy of the newest checkpoint of this task, if an earlier attempt left one."""
    scratch: Path
    """Empty folder, removed after the task."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What the manifest says beside the parts."""

    statistics: Mapping[str, Json]
    failed_count: int = 0
    cost: Mapping[str, float] = field(default_factory=dict[str, float])
    """What it cost beside time and memory."""


class JobKind(Protocol[S]):
    """One kind of job. Instances are made in `kinds.py` of a service and hold its resources (device, LLM client)."""

    name: str
    """Kind of job and artifact, for example "latents"."""
    version: int
    """Version of the semantics; part of every id."""
    description: str
    """One sentence for GetServerInfo."""
    spec: type[S]
    input_kinds: Mapping[str, str]
    """Role to the kind of artifact it must be; roles are those that `inputs` returns, without any ".N" suffix."""

    def inputs(self, spec: S) -> Mapping[str, str]:
        """Role to artifact id. A repeated role is numbered: "scores.0", "scores.1"."""
        ...

    def resolve(self, spec: S) -> S:
        """At submit: looks at the world outside (files, models, engines), raises a typed error with field
        violations where the spec cannot work, and returns the spec with fingerprints and resolved names."""
        ...

    def check(self, spec: S, inputs: Mapping[str, InputInfo]) -> None:
        """At submit, and again before planning: raises InvalidSpec where the spec does not fit its inputs.
        At submit an input may be only a known job: its spec is there, its manifest is None."""
        ...

    def plan(self, spec: S, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        """Cuts the job into stages of tasks. Cheap: reads manifests, nothing else. At most 10,000 tasks a stage."""
        ...

    def run(self, spec: S, context: Context) -> Iterator[Progress | Part | Checkpoint]:
        """Does one task. Between two yields the shell may report, checkpoint or cancel. Safe to repeat."""
        ...

    def combine(self, spec: S, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        """Sums up all parts, intermediates included, from their metadata. Cheap and deterministic."""
        ...


AnyKind = JobKind[Any]
