"""The `fidelity` kind: coders spliced into the model, one at a time, and what the model loses."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dragoman.artifacts import InputInfo, Manifest, PartInfo
from dragoman.ids import Json
from dragoman.kinds import Checkpoint, Context, Part, Progress, Stage, Summary
from hooked_models.core.rows import RowRange, RowTable, cut, rows_from_start
from hooked_models.model_ref import ModelRef
from hooked_models.model_refs import ModelRefs, weights_origin
from hooked_models.token_checks import check_tokens

from activation.coder_memory import check_coders_fit
from activation.input_checks import check_coder, check_kind, check_task_count
from activation.spec import FidelitySpec
from activation.token_policy import check_coder_policy

if TYPE_CHECKING:
    from hooked_models.models import LoadedModel

    from activation.fidelity_run import CoderShelf

MEANS, AVERAGE, SPLICE, SUMMARISE = range(4)


class FidelityKind:
    """Stage 0 sums hookpoints' values, stage 1 averages them, stage 2 splices, stage 3 sums up."""

    name = "fidelity"
    version = 1
    description = "What a language model loses when coders stand in for its activations: CE, KL, CE recovered, FVU."
    spec = FidelitySpec
    input_kinds: Mapping[str, str] = {"tokens": "tokens", "coder": "coder"}

    def __init__(
        self,
        models: ModelRefs,
        model: "Callable[[ModelRef], LoadedModel]",
        coders: "Callable[[], CoderShelf]",
        memory_bytes: int | None = None,
    ) -> None:
        """`model` and `coders` are called when a task runs. `memory_bytes`: of the largest worker; None: not known."""
        self._models = models
        self._model = model
        self._coders = coders
        self._memory_bytes = memory_bytes

    def inputs(self, spec: FidelitySpec) -> Mapping[str, str]:
        """The tokens, and the coders in the spec's order."""
        return {"tokens": spec.tokens_id, **{f"coder.{i}": id_ for i, id_ in enumerate(spec.coder_ids)}}

    def resolve(self, spec: FidelitySpec) -> FidelitySpec:
        """Fingerprints the model."""
        model = self._models.resolve(spec.model)
        self._models.describe(model)
        return spec.model_copy(update={"model": model})

    def check(self, spec: FidelitySpec, inputs: Mapping[str, InputInfo]) -> None:
        """Refuses tokens and coders that are not of this model, and a split without rows."""
        tokens = check_kind(inputs, "tokens", "tokens", "tokens_id")
        described = self._models.describe(spec.model)
        check_tokens(tokens, described)
        coders = {
            f"coder_ids[{i}]": check_kind(inputs, f"coder.{i}", "coder", f"coder_ids[{i}]")
            for i in range(len(spec.coder_ids))
        }
        for field_name, coder in coders.items():
            check_coder(coder, spec.model, described, field_name)
            check_coder_policy(tokens, coder, field_name)
        check_coders_fit(coders, described, spec.model.dtype, self._memory_bytes)
        if tokens.manifest is not None:
            row_count = sum(end - first for first, end in _ranges(spec, tokens.manifest))
            check_task_count(row_count, spec.rows_per_task, spec.split)

    def plan(self, spec: FidelitySpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        """Row ranges twice: for the means, and for the passes."""
        tasks = cut(_ranges(spec, _manifest(inputs, "tokens")), spec.rows_per_task)
        rows: list[Mapping[str, Json]] = [{"first": first, "end": end} for first, end in tasks]
        return [Stage("means", rows), Stage("average", [{}]), Stage("splice", rows), Stage("summarise", [{}])]

    def run(self, spec: FidelitySpec, context: Context) -> Iterator[Progress | Part | Checkpoint]:
        """Does one task of any stage."""
        from activation import fidelity_run  # torch: only where work is done

        stage = context.task.stage
        if stage == MEANS:
            yield from fidelity_run.sum_values(spec, context, self._model(spec.model))
        elif stage == AVERAGE:
            yield from fidelity_run.average(context)
        elif stage == SPLICE:
            yield from fidelity_run.splice(spec, context, self._model(spec.model), self._coders())
        else:
            yield from fidelity_run.summarise(spec, context)

    def combine(self, spec: FidelitySpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        """The figures of the last stage, and what a reader has to know of weights and documents."""
        tokens = _manifest(inputs, "tokens")
        ranges = _ranges(spec, tokens)
        statistics: dict[str, Json] = {
            "tokens_id": spec.tokens_id,
            "row_count": sum(end - first for first, end in ranges),
            "rows": [[first, end] for first, end in ranges],
            "weights": weights_origin(spec.model),
            "token_policy": tokens.statistics.get("token_policy"),
        }
        notes = _weights_notes(spec)
        shared: dict[str, Json] = {}
        for i, coder_id in enumerate(spec.coder_ids):
            count = trained_row_count(spec.tokens_id, ranges, tokens, _manifest(inputs, f"coder.{i}"))
            shared[coder_id] = count
            notes += _trained_notes(coder_id, count)
        for part in parts:
            if part.stage == SUMMARISE and part.metadata:
                statistics.update(part.metadata)
                found: Any = part.metadata["notes"]
                notes += found
        return Summary({**statistics, "trained_row_count": shared, "notes": list[Json](notes)})


def trained_row_count(tokens_id: str, ranges: Sequence[RowRange], tokens: Manifest, coder: Manifest) -> int | None:
    """Returns how many of the rows a coder was trained on; None where that is not known."""
    trained = coder.statistics
    if trained.get("tokens_id") is None or trained.get("row_count") is None:
        return None
    if trained["tokens_id"] != tokens_id:
        return None
    first, _ = RowTable.of(tokens.statistics).bounds(str(trained.get("split") or "all"))
    end = first + int(str(trained["row_count"]))
    return sum(max(0, min(end, high) - max(first, low)) for low, high in ranges)


def _trained_notes(coder_id: str, count: int | None) -> list[str]:
    if count is None:
        return [f"{coder_id}: it is not known whether it was trained on these documents"]
    return [f"{coder_id}: {count:,} of these rows were trained on; its numbers are not held-out"] if count else []


def _weights_notes(spec: FidelitySpec) -> list[str]:
    if spec.model.weights == "trained":
        return []
    return [
        f"the weights are {spec.model.weights!r}, not trained: such a model predicts no text, so its CE has nothing to "
        "lose and CE recovered says nothing; KL says how far its predictions move, and FVU is what it always is"
    ]


def _ranges(spec: FidelitySpec, tokens: Manifest) -> list[RowRange]:
    return rows_from_start(RowTable.of(tokens.statistics), spec.split, spec.max_tokens)


def _manifest(inputs: Mapping[str, InputInfo], role: str) -> Manifest:
    manifest = inputs[role].manifest
    assert manifest is not None, "a job is planned when its inputs are committed"
    return manifest
