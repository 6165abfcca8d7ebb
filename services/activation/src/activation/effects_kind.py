"""The `effects` kind: what steering or ablating latents does to the next token."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from dragoman.artifacts import Artifact, InputInfo, Manifest, PartInfo
from dragoman.errors import InvalidSpec, Violation
from dragoman.ids import Json, kind_of
from dragoman.kinds import Checkpoint, Context, Part, Progress, Stage, Summary
from hooked_models.model_ref import ModelRef
from hooked_models.model_refs import weights_origin

from activation.input_checks import MAX_TASKS
from activation.spec import EffectsSpec

if TYPE_CHECKING:
    from hooked_models.models import LoadedModel

    from activation.latents_run import CoderSlot

SELECT, MEASURE = 0, 1


class Artifacts(Protocol):
    """Where artifacts that are inputs of inputs are read."""

    def artifact(self, artifact_id: str, /) -> Artifact:
        """Returns a committed artifact."""
        ...

    def manifest(self, artifact_id: str, /) -> Manifest | None:
        """Returns a committed artifact's manifest, or None."""
        ...


class EffectsKind:
    """Stage 0 chooses latents, stage 1 changes them in the model, some latents a task, stage 2 joins the tables."""

    name = "effects"
    version = 1
    description = "What steering or ablating latents does to the next token: strengths by KL, tokens, continuations."
    spec = EffectsSpec
    input_kinds: Mapping[str, str] = {"latents": "latents"}

    def __init__(
        self,
        artifacts: Artifacts | None,
        model: "Callable[[ModelRef], LoadedModel]",
        coder: "Callable[[], CoderSlot]",
    ) -> None:
        """`model` and `coder` are called when a task runs. `artifacts`: None where no job is submitted or run."""
        self._artifacts = artifacts
        self._model = model
        self._coder = coder

    def inputs(self, spec: EffectsSpec) -> Mapping[str, str]:
        return {"latents": spec.latents_id}

    def resolve(self, spec: EffectsSpec) -> EffectsSpec:
        """Model, coder and tokens are those of the latents. Raises InvalidSpec for an id of another kind."""
        if kind_of(spec.latents_id, field="latents_id") != "latents":
            raise InvalidSpec(
                f"{spec.latents_id} is not a latents artifact; expected an id that begins with latents-",
                field="latents_id",
                reason="WRONG_KIND",
            )
        return spec

    def check(self, spec: EffectsSpec, inputs: Mapping[str, InputInfo]) -> None:
        latents = inputs["latents"]
        violations = [*self._length_violations(spec, latents), *_split_violations(spec, latents)]
        if latents.manifest is not None:
            violations += spec.selection.out_of_range(_number(latents.manifest.statistics, "d_sae"))
        if violations:
            raise InvalidSpec(violations)

    def _length_violations(self, spec: EffectsSpec, latents: InputInfo) -> Iterator[Violation]:
        tokens = None if self._artifacts is None else self._artifacts.manifest(str(latents.spec["tokens_id"]))
        if tokens is None:
            return
        longest = _number(tokens.statistics, "ctx_len") - bool(tokens.statistics["has_bos"])
        if spec.prompt_tokens > longest:
            yield Violation(
                "prompt_tokens",
                f"{spec.prompt_tokens} tokens are longer than the rows of {tokens.id}, which have {longest} "
                f"beside BOS; expected 2 to {longest}",
            )

    def plan(self, spec: EffectsSpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        d_sae = _number(_statistics(inputs), "d_sae")
        choice = spec.selection
        count = len(choice.latents) or len(choice.ranks) or min(choice.count, d_sae) or d_sae
        size = max(spec.latents_per_task, -(-count // (MAX_TASKS - 2)))
        groups = [{"first": first, "end": min(first + size, count)} for first in range(0, count, size)]
        return [Stage("select", [{}]), Stage("measure", groups), Stage("write", [{}])]

    def run(self, spec: EffectsSpec, context: Context) -> Iterator[Progress | Part | Checkpoint]:
        from activation import effects_run  # torch: only where work is done

        if context.task.stage == SELECT:
            yield from effects_run.select(spec, context)
        elif context.task.stage == MEASURE:
            assert self._artifacts is not None, "a worker has a store"
            latents = context.inputs["latents"].manifest
            coder = self._artifacts.artifact(str(latents.spec["coder_id"]))
            model = self._model(ModelRef.model_validate(latents.spec["model"]))
            yield from effects_run.measure(
                spec,
                context,
                model,
                self._coder().get(coder, context, model.device),
                self._artifacts.artifact(str(latents.spec["tokens_id"])),
                _hookpoints(coder.manifest.statistics),
            )
        else:
            yield from effects_run.write(spec, context)

    def combine(self, spec: EffectsSpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        """Sums up how the selected latents ended, with the latents artifact's own numbers."""
        latents = inputs["latents"]
        known: Mapping[str, Any] = _statistics(inputs)
        tasks: list[Mapping[str, Any]] = [p.metadata for p in parts if p.name.startswith("effects-")]
        measured = sum(int(task["measured"]) for task in tasks)
        found = {target: sum(int(task["converged"][target]) for task in tasks) for target in tasks[0]["converged"]}
        reused = {task["prefix_reuse"] for task in tasks} - {None}
        statistics: dict[str, Json] = {
            "total": int(known["d_sae"]),
            "selected": sum(int(task[name]) for task in tasks for name in ("measured", "dead", "no_prompts")),
            "selected_dead": sum(int(task["dead"]) for task in tasks),
            "without_prompts": sum(int(task["no_prompts"]) for task in tasks),
            "measured": measured,
            "prompt_count": sum(int(task["prompts"]) for task in tasks),
            "converged": {
                target: {"fraction": count / measured if measured else None, "count": count, "n": measured}
                for target, count in found.items()
            },
            "prefix_reuse": None if not reused else False not in reused,
            "hookpoint": known["hookpoint"],
            "tokens_id": latents.spec["tokens_id"],
            "coder_id": latents.spec["coder_id"],
            "weights": weights_origin(ModelRef.model_validate(latents.spec["model"])),
            "token_policy": known.get("token_policy"),
        }
        return Summary(statistics)


def _hookpoints(coder: Mapping[str, Any]) -> tuple[str, str]:
    """What a coder reads and what it gives: the same for an autoencoder."""
    reads = str(coder["hookpoint"])
    return reads, str(coder.get("output_hookpoint") or reads)


def _split_violations(spec: EffectsSpec, latents: InputInfo) -> Iterator[Violation]:
    read = str(latents.spec.get("split", "all"))
    if "all" not in (read, spec.split) and read != spec.split:
        yield Violation("split", f"{latents.id} has read {read} documents only; expected {read!r} or 'all'")
    elif spec.split != "all" and latents.manifest is not None:
        counted = _number(latents.manifest.statistics, f"{spec.split}_token_count")
        if not counted:
            yield Violation("split", f"{latents.id} has read no tokens of {spec.split} documents; choose another split")


def _statistics(inputs: Mapping[str, InputInfo]) -> Mapping[str, Any]:
    manifest = inputs["latents"].manifest
    assert manifest is not None, "a job is planned when its inputs are committed"
    return manifest.statistics


def _number(values: Mapping[str, Any], name: str) -> int:
    return int(values[name])
