"""Runs a job kind over local folders, the way the shell runs it over the store."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dragoman.artifacts import Artifact, InputInfo, Manifest, PartInfo
from dragoman.folder import FolderArtifact, file_sha256
from dragoman.ids import artifact_id
from dragoman.kinds import AnyKind, Checkpoint, Context, Part, Progress, Spec, Task
from dragoman.manifests import MANIFEST_NAME, check_part_names, manifest_to_json

Order = Callable[[Sequence[Task]], Sequence[Task]]


def run_local(
    kind: AnyKind,
    spec: Spec,
    inputs: Mapping[str, FolderArtifact],
    folder: Path,
    *,
    order: Order | None = None,
    resume_after: int | None = None,
) -> FolderArtifact:
    """Resolves, checks, plans, runs and combines a job; returns the artifact that it wrote to `folder`.

    inputs: role to artifact, with the roles of `kind.inputs(spec)`.
    order: in which the tasks of a stage run, for example `reversed_order`; as planned without.
    resume_after: abandon each task's first attempt after so many yields and run it again from its checkpoint.
    """
    wanted = kind.inputs(spec)
    assert set(wanted) == set(inputs), f"{kind.name} takes {sorted(wanted)}, the test gave {sorted(inputs)}"
    infos = {role: _info(artifact) for role, artifact in inputs.items()}
    resolved = kind.resolve(spec)
    kind.check(resolved, infos)
    canonical = resolved.model_dump(mode="json")
    run = _Run(kind, resolved, artifact_id(kind.name, kind.version, canonical), inputs, folder, resume_after)
    by_stage: dict[int, Sequence[PartInfo]] = {}
    for number, stage in enumerate(kind.plan(resolved, infos)):
        payloads = [json.loads(json.dumps(dict(payload))) for payload in stage.tasks]
        tasks = [Task(number, index, payload) for index, payload in enumerate(payloads)]
        made = {task.index: run.do(task, by_stage) for task in (order(tasks) if order else tasks)}
        assert len(made) == len(tasks), "order lost or doubled a task"
        by_stage = {**by_stage, number: [part for index in sorted(made) for part in made[index]]}
    return run.finish(infos, [part for number in sorted(by_stage) for part in by_stage[number]])


def reversed_order(tasks: Sequence[Task]) -> Sequence[Task]:
    """The last task first."""
    return list(reversed(tasks))


def _info(artifact: FolderArtifact) -> InputInfo:
    manifest = artifact.manifest
    return InputInfo(manifest.id, manifest.kind, manifest.spec, manifest, manifest.inputs)


@dataclass
class _Run:
    kind: AnyKind
    spec: Spec
    id: str
    inputs: Mapping[str, FolderArtifact]
    folder: Path
    resume_after: int | None

    def __post_init__(self) -> None:
        self.work = self.folder / ".work"
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.work / "own").mkdir(parents=True)

    def do(self, task: Task, by_stage: Mapping[int, Sequence[PartInfo]]) -> list[PartInfo]:
        checkpoint = self.work / f"checkpoint-{task.id}"
        if self.resume_after is not None:
            self._attempt(task, by_stage, checkpoint, self.resume_after)
        made = self._attempt(task, by_stage, checkpoint, None)
        check_part_names([part.name for stage in by_stage.values() for part in stage] + [part.name for part in made])
        for part in made:
            target = self.work / "own" / part.name
            target.parent.mkdir(parents=True, exist_ok=True)
            (self.work / "task" / part.name).rename(target)
        return made

    def _attempt(
        self, task: Task, by_stage: Mapping[int, Sequence[PartInfo]], checkpoint: Path, limit: int | None
    ) -> list[PartInfo]:
        shutil.rmtree(self.work / "task", ignore_errors=True)
        made: list[PartInfo] = []
        yields = self.kind.run(self.spec, self._context(task, by_stage, checkpoint))
        assert isinstance(yields, Iterator)
        for number, said in enumerate(yields):
            if number == limit:
                break
            if isinstance(said, Part):
                made.append(self._store(said, task))
            elif isinstance(said, Checkpoint):
                shutil.copyfile(said.path, checkpoint.with_suffix(".new"))
                checkpoint.with_suffix(".new").rename(checkpoint)
            else:
                assert isinstance(said, Progress), f"{self.kind.name}.run yielded {type(said).__name__}"
        if hasattr(yields, "close"):
            yields.close()  # pyright: ignore[reportAttributeAccessIssue]
        shutil.rmtree(self.work / "scratch")
        return made

    def _context(self, task: Task, by_stage: Mapping[int, Sequence[PartInfo]], checkpoint: Path) -> Context:
        scratch = self.work / "scratch"
        scratch.mkdir()
        earlier = [part for stage in sorted(by_stage) for part in by_stage[stage]]
        own: Artifact = FolderArtifact(self.work / "own", self._manifest(earlier))
        copy = self.work / "checkpoint"
        if checkpoint.exists():
            shutil.copyfile(checkpoint, copy)
        return Context(
            job_id=self.id,
            task=task,
            inputs=self.inputs,
            parts=by_stage,
            own=own,
            checkpoint=copy if checkpoint.exists() else None,
            scratch=scratch,
        )

    def _store(self, part: Part, task: Task) -> PartInfo:
        check_part_names([part.name])
        target = self.work / "task" / part.name
        target.parent.mkdir(parents=True, exist_ok=True)
        assert (part.path is None) != (part.data is None), f"{part.name}: give either a path or data"
        if part.path is not None:
            shutil.copyfile(part.path, target)
        else:
            target.write_bytes(part.data or b"")
        size, sha256 = target.stat().st_size, file_sha256(target)
        metadata = json.loads(json.dumps(dict(part.metadata), allow_nan=False))
        return PartInfo(
            part.name, part.name, size, sha256, part.row_count, metadata, task.stage, task.index, keep=part.keep
        )

    def _manifest(self, parts: Sequence[PartInfo]) -> Manifest:
        inputs = {role: artifact.id for role, artifact in self.inputs.items()}
        return Manifest(
            self.id, self.kind.name, self.kind.version, self.spec.model_dump(mode="json"), inputs, parts, {}
        )

    def finish(self, infos: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> FolderArtifact:
        summary = self.kind.combine(self.spec, infos, parts)
        kept = [part for part in parts if part.keep]
        for part in kept:
            target = self.folder / part.name
            target.parent.mkdir(parents=True, exist_ok=True)
            (self.work / "own" / part.name).rename(target)
        draft = self._manifest(kept)
        manifest = Manifest(
            draft.id,
            draft.kind,
            draft.semantics_version,
            draft.spec,
            draft.inputs,
            kept,
            summary.statistics,
            summary.failed_count,
            cost=summary.cost,
        )
        (self.folder / MANIFEST_NAME).write_bytes(manifest_to_json(manifest))
        shutil.rmtree(self.work)
        return FolderArtifact(self.folder)
