"""Artifacts: immutable results, and how they are read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from dragoman.ids import Json


@dataclass(frozen=True, slots=True)
class PartInfo:
    """One stored object of an artifact."""

    name: str
    key: str
    size_bytes: int
    sha256: str
    row_count: int = 0
    metadata: Mapping[str, Json] = field(default_factory=dict[str, Json])
    stage: int = 0
    task_index: int = 0
    keep: bool = True


@dataclass(frozen=True, slots=True)
class Manifest:
    """The document that makes an artifact exist; written last, exactly once."""

    id: str
    kind: str
    semantics_version: int
    spec: Mapping[str, Json]
    inputs: Mapping[str, str]
    parts: Sequence[PartInfo]
    statistics: Mapping[str, Json]
    failed_count: int = 0
    commit_time: str = ""
    software: Mapping[str, str] = field(default_factory=dict[str, str])
    cost: Mapping[str, float] = field(default_factory=dict[str, float])
    """What it took: "task_seconds" of work, summed over tasks, "peak_memory_bytes" of the largest process, and where
    prices are known "spend_<currency>" for a language model's answers."""
    namespace: str = ""
    """Whose it is; empty: everybody's. See `dragoman.principals`."""
    _by_name: Mapping[str, PartInfo] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Notes the parts by name: a job that reads each of ten thousand may not look through all for each."""
        object.__setattr__(self, "_by_name", {part.name: part for part in self.parts})

    @property
    def size_bytes(self) -> int:
        """Bytes of all parts."""
        return sum(part.size_bytes for part in self.parts)

    def part(self, name: str) -> PartInfo:
        """Returns the part with this name. Raises KeyError."""
        return self._by_name[name]


@dataclass(frozen=True, slots=True)
class InputInfo:
    """What is known of an input before it is read: always its kind and canonical spec, its manifest once committed."""

    id: str
    kind: str
    spec: Mapping[str, Json]
    manifest: Manifest | None
    inputs: Mapping[str, str] = field(default_factory=dict[str, str])
    namespace: str = ""


class Artifact(Protocol):
    """Reads the parts of one artifact. Whole reads are checked against the manifest's sha256."""

    @property
    def id(self) -> str: ...

    @property
    def manifest(self) -> Manifest: ...

    def names(self) -> Sequence[str]:
        """Names of the parts, in the manifest's order."""
        ...

    def read(self, name: str) -> bytes:
        """Returns a whole part. Raises DataLoss when its bytes are not those of the manifest."""
        ...

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Returns `length` bytes from `offset` with one ranged request. Raises DataLoss when fewer come back."""
        ...

    def download(self, name: str) -> Path:
        """Returns a verified local copy of a part, from a per-process cache that the shell bounds and removes."""
        ...
