"""The `activations` kind: token rows through a model to dense activations."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dragoman.artifacts import InputInfo, PartInfo
from dragoman.ids import Json
from dragoman.kinds import Checkpoint, Context, Part, Progress, Stage, Summary
from hooked_models.core.rows import RowRange, RowTable, cut, rows_from_start
from hooked_models.model_ref import ModelRef
from hooked_models.model_refs import ModelRefs, weights_origin
from hooked_models.token_checks import check_policy, check_tokens

from activation.input_checks import check_kind, check_task_count
from activation.spec import ActivationsSpec

if TYPE_CHECKING:
    from hooked_models.models import LoadedModel

FORWARD, SUMMARISE = range(2)


class ActivationsKind:
    """Stage 0 runs row ranges through the model; stage 1 merges the moments of all of them."""

    name = "activations"
    version = 2
    description = (
        "Dense activations of a language model at one or more hookpoints, in one pass that stops after the last."
    )
    spec = ActivationsSpec
    input_kinds: Mapping[str, str] = {"tokens": "tokens"}

    def __init__(self, models: ModelRefs, model: "Callable[[ModelRef], LoadedModel]") -> None:
        """`model` is called when a task runs."""
        self._models = models
        self._model = model

    def inputs(self, spec: ActivationsSpec) -> Mapping[str, str]:
        return {"tokens": spec.tokens_id}

    def resolve(self, spec: ActivationsSpec) -> ActivationsSpec:
        """Fingerprints the model and writes out hookpoints and dtype."""
        model = self._models.resolve(spec.model)
        described = self._models.describe(model)
        names = [described.hookpoint(name, f"hookpoints[{i}]") for i, name in enumerate(spec.hookpoints)]
        changes: dict[str, Any] = {
            "model": model,
            "hookpoints": tuple(dict.fromkeys(names)),
            "dtype": spec.dtype or model.dtype,
        }
        return spec.model_copy(update=changes)

    def check(self, spec: ActivationsSpec, inputs: Mapping[str, InputInfo]) -> None:
        tokens = check_kind(inputs, "tokens", "tokens", "tokens_id")
        check_tokens(tokens, self._models.describe(spec.model))
        check_policy(tokens)
        if tokens.manifest is not None:
            ranges = _ranges(spec, tokens.manifest.statistics)
            check_task_count(sum(end - first for first, end in ranges), spec.rows_per_task, spec.split)

    def plan(self, spec: ActivationsSpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        manifest = inputs["tokens"].manifest
        assert manifest is not None, "a job is planned when its inputs are committed"
        tasks = cut(_ranges(spec, manifest.statistics), spec.rows_per_task)
        return [Stage("forward", [{"first": first, "end": end} for first, end in tasks]), Stage("summarise", [{}])]

    def run(self, spec: ActivationsSpec, context: Context) -> Iterator[Progress | Part | Checkpoint]:
        from activation import activations_run  # torch: only where work is done

        if context.task.stage == FORWARD:
            yield from activations_run.forward(spec, context, self._model(spec.model))
        else:
            yield from activations_run.summarise(spec, context)

    def combine(self, spec: ActivationsSpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        """Counts from the shards, moments from the summary, and what a reader has to know of weights and tokens."""
        tokens = inputs["tokens"].manifest
        statistics: dict[str, Json] = {
            "hookpoints": list(spec.hookpoints),
            "dtype": spec.dtype,
            "weights": weights_origin(spec.model),
            "token_policy": tokens.statistics.get("token_policy") if tokens is not None else None,
        }
        shards = [p for p in parts if p.stage == FORWARD and p.keep and p.metadata["hookpoint"] == spec.hookpoints[0]]
        statistics["token_count"] = sum(p.row_count for p in shards)
        statistics["row_count"] = sum(int(str(p.metadata["row_count"])) for p in shards)
        for part in parts:
            if part.stage == SUMMARISE:
                statistics.update(part.metadata)
        return Summary(statistics)


def _ranges(spec: ActivationsSpec, statistics: Mapping[str, Any]) -> list[RowRange]:
    return rows_from_start(RowTable.of(statistics), spec.split, spec.max_tokens)
