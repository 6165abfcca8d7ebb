"""The job kind `explanations`: one explanation for each selected latent."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from dragoman.artifacts import Artifact, InputInfo, PartInfo
from dragoman.errors import InvalidSpec, Violation
from dragoman.ids import Json, kind_of
from dragoman.kinds import Checkpoint, Context, Part, Progress, Stage, Summary
from latent_cache import KeptWindows

from explainer.core.explainers import EXPLAINERS
from explainer.explaining import ATTEMPTED, explain
from explainer.selecting import SELECTION, select
from explainer.spec import ExplanationsSpec, LatentSelection
from explainer.writer import Writer
from explainer.writing import outcomes, write

_MOST_TASKS = 10_000
_SELECT, _EXPLAIN = 0, 1


class Artifacts(Protocol):
    """Where artifacts that are inputs of inputs are read."""

    def artifact(self, artifact_id: str, /) -> Artifact:
        """Returns a committed artifact."""
        ...


class ExplanationsKind:
    """Selects latents (stage 0, one task), explains them (stage 1, some latents a task), joins the tables (stage 2)."""

    name = "explanations"
    version = 2
    description = "One explanation for each selected latent, from windows of train documents in which it fires."
    spec = ExplanationsSpec
    input_kinds: Mapping[str, str] = {"latents": "latents"}

    def __init__(self, writer: Writer, artifacts: Artifacts) -> None:
        self._writer = writer
        self._artifacts = artifacts

    def inputs(self, spec: ExplanationsSpec) -> Mapping[str, str]:
        """See JobKind.inputs."""
        return {"latents": spec.latents_id}

    def resolve(self, spec: ExplanationsSpec) -> ExplanationsSpec:
        """Fills in the model's name and the prompt's version.

        Raises Unavailable for an engine that cannot be reached, InvalidSpec for a model that it does not serve, a
        prompt version of another release, or an id of the wrong kind.
        """
        if kind_of(spec.latents_id, field="latents_id") != "latents":
            raise InvalidSpec(
                f"{spec.latents_id} is not a latents artifact; expected an id that begins with latents-",
                field="latents_id",
                reason="WRONG_KIND",
            )
        version = EXPLAINERS[spec.explainer].version
        if spec.prompt_version not in {"", version}:
            raise InvalidSpec(
                f"this server has prompt {version!r}, not {spec.prompt_version!r}; leave the field out",
                field="prompt_version",
            )
        return spec.model_copy(update={"llm": self._writer.resolve(spec.llm), "prompt_version": version})

    def check(self, spec: ExplanationsSpec, inputs: Mapping[str, InputInfo]) -> None:
        """See JobKind.check."""
        latents = inputs["latents"]
        violations = [*_split_violations(latents), *_window_violations(spec, KeptWindows.of(latents))]
        if latents.manifest is not None:
            violations += _selection_violations(spec.selection, _number(latents.manifest.statistics, "d_sae"))
        if violations:
            raise InvalidSpec(violations)

    def plan(self, spec: ExplanationsSpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        """See JobKind.plan."""
        manifest = inputs["latents"].manifest
        assert manifest is not None
        wanted = spec.selection
        d_sae = _number(manifest.statistics, "d_sae")
        count = len(wanted.latents) or len(wanted.ranks) or min(wanted.count, d_sae) or d_sae
        size = max(spec.latents_per_task, -(-count // _MOST_TASKS))
        groups = [{"first": first, "end": min(first + size, count)} for first in range(0, count, size)]
        return [Stage("select", [{}]), Stage("explain", groups), Stage("write", [{}])]

    def run(self, spec: ExplanationsSpec, context: Context) -> Iterator[Progress | Part | Checkpoint]:
        """See JobKind.run."""
        if context.task.stage == _SELECT:
            yield from select(spec, context)
        elif context.task.stage == _EXPLAIN:
            tokens_id = str(context.inputs["latents"].manifest.statistics["tokens_id"])
            yield from explain(spec, context, self._artifacts.artifact(tokens_id), self._writer)
        else:
            yield from write(spec, context)

    def combine(self, spec: ExplanationsSpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        """See JobKind.combine."""
        known = next(part for part in parts if part.name == SELECTION).metadata
        tasks = [part for part in parts if part.name.startswith("explained-")]
        counts = outcomes(tasks)
        attempted = sum(counts[name] for name in ATTEMPTED)
        failed: dict[str, Json] = {name: counts[name] for name in ATTEMPTED[1:]}
        statistics: dict[str, Json] = {
            "total": known["total"],
            "dead": known["dead"],
            "rare": known["rare"],
            "selected": attempted + counts["dead"] + counts["rare"],
            "selected_dead": counts["dead"],
            "selected_rare": counts["rare"],
            "attempted": attempted,
            "parsed": counts["explained"],
            "failed_by_outcome": failed,
            **{name: _sum(tasks, name) for name in ("prompt_tokens", "cached_tokens", "completion_tokens")},
            "model": spec.llm.model,
            "explainer": spec.explainer,
            "prompt_version": spec.prompt_version,
        }
        return Summary(statistics, failed_count=attempted - counts["explained"])


def _split_violations(latents: InputInfo) -> Iterator[Violation]:
    split = latents.spec.get("split", "all")
    if split in {"train", "test"}:
        yield Violation(
            "latents_id",
            f"{latents.id} has read {split} documents only; explanations are written from train and scored on test "
            "documents: give latents of split all",
        )


def _window_violations(spec: ExplanationsSpec, kept: KeptWindows) -> Iterator[Violation]:
    yield from kept.length_violations(spec.window_length)
    of_kind = kept.top_violations if spec.sampling == "top" else kept.sampled_violations
    yield from of_kind("example_count", spec.example_count)


def _selection_violations(selection: LatentSelection, d_sae: int) -> Iterator[Violation]:
    for name, values in (("latents", selection.latents), ("ranks", selection.ranks)):
        for i, value in enumerate(values):
            if value >= d_sae:
                yield Violation(f"selection.{name}[{i}]", f"{value} is out of range; expected 0 to {d_sae - 1}")
    if selection.count > d_sae:
        yield Violation("selection.count", f"{selection.count} latents of {d_sae}; expected 1 to {d_sae}")


def _number(values: Mapping[str, Json], name: str) -> int:
    value: Any = values[name]
    return int(value)


def _sum(parts: Sequence[PartInfo], name: str) -> int:
    return sum(_number(part.metadata, name) for part in parts)
