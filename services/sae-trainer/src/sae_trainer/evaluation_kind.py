"""The kind `evaluation`: a coder on held-out activations. Imports no torch until a task runs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dragoman.artifacts import InputInfo, Manifest, PartInfo
from dragoman.errors import InvalidSpec, UserTaskError
from dragoman.ids import Json
from dragoman.kinds import Context, Part, Progress, Stage, Summary

from sae_trainer.config import Config
from sae_trainer.overlap import ArtifactOf, shared_document_count, token_set
from sae_trainer.source import declared_hookpoints, find_hookpoint, source_of, token_count_of
from sae_trainer.spec import EvaluationSpec

_TASK_TOKENS = 2**18
_SUMMARY_PART = "evaluation.json"


class EvaluationKind:
    """Measures a coder on documents that it was not trained on."""

    name = "evaluation"
    version = 1
    description = "FVU with its interval, L0, dead and dense latents of a coder on held-out documents."
    spec = EvaluationSpec
    input_kinds: Mapping[str, str] = {"coder": "coder", "activations": "activations"}

    def __init__(self, config: Config, artifact_of: ArtifactOf) -> None:
        """`artifact_of` opens the tokens and training activations behind the inputs."""
        self._config = config
        self._artifact_of = artifact_of

    def inputs(self, spec: EvaluationSpec) -> Mapping[str, str]:
        """The coder, and the activations to measure it on."""
        return {"coder": spec.coder_id, "activations": spec.activations_id}

    def resolve(self, spec: EvaluationSpec) -> EvaluationSpec:
        """Everything the spec depends on is in its inputs."""
        return spec

    def check(self, spec: EvaluationSpec, inputs: Mapping[str, InputInfo]) -> None:
        """Refuses activations of another model, hookpoint or width, and those that the coder was trained on."""
        coder, activations = inputs["coder"], inputs["activations"]
        if coder.spec.get("activations_id") == activations.id:
            raise _refusal(f"{activations.id} is what the coder was trained on", "DOCUMENT_OVERLAP")
        if coder.manifest is None:
            hookpoint = str(coder.spec.get("hookpoint") or "")
            if hookpoint:
                find_hookpoint(hookpoint, declared_hookpoints(activations.spec), activations.id)
            return
        trained = coder.manifest.statistics
        _check_model(trained, activations)
        names = (
            activations.manifest.statistics["hookpoints"] if activations.manifest else activations.spec["hookpoints"]
        )
        find_hookpoint(str(trained["hookpoint"]), _texts(names), activations.id)
        if activations.manifest is not None:
            _check_committed(trained, activations.manifest)

    def plan(self, spec: EvaluationSpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        """Tasks of neighbouring shards, then one that adds up."""
        coder, activations = inputs["coder"].manifest, inputs["activations"].manifest
        if coder is None or activations is None:
            raise InvalidSpec("an evaluation is planned once its inputs are committed")
        shards = source_of(activations, str(coder.statistics["hookpoint"])).shards
        return [Stage("encode", _cut(shards)), Stage("summarise", [{}])]

    def run(self, spec: EvaluationSpec, context: Context) -> Iterator[Progress | Part]:
        """Does one task of either stage."""
        from sae_trainer.evaluating import encode, summarise

        if context.task.stage == 1:
            yield from summarise(context)
            return
        overlap = self._overlap(context) if context.task.index == 0 else 0
        yield from encode(spec, context, self._config, overlap)

    def combine(self, spec: EvaluationSpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        """The figures that the last stage worked out."""
        return Summary(next(part for part in parts if part.name == _SUMMARY_PART).metadata)

    def _overlap(self, context: Context) -> int:
        """Returns the number of shared documents. Raises UserTaskError when they are of the same tokens artifact."""
        trained = context.inputs["coder"].manifest.statistics
        held_out = context.inputs["activations"].manifest
        if "tokens_id" not in trained:
            return 0
        seen, unseen = token_set(trained, trained), token_set(held_out.spec, held_out.statistics)
        count = shared_document_count(seen, unseen, self._artifact_of)
        if count and seen.tokens_id == unseen.tokens_id:
            raise UserTaskError(
                f"{count} documents of {held_out.id} were trained on; make activations of the split 'train' to "
                "train on and of the split 'test' to evaluate on",
                reason="DOCUMENT_OVERLAP",
            )
        return count


def _cut(shards: Sequence[PartInfo]) -> Sequence[Mapping[str, Json]]:
    tasks: list[dict[str, Json]] = []
    first = held = 0
    for index, shard in enumerate(shards):
        if held and held + token_count_of(shard) > _TASK_TOKENS:
            tasks.append({"first": first, "end": index})
            first, held = index, 0
        held += token_count_of(shard)
    return [*tasks, {"first": first, "end": len(shards)}]


def _check_model(trained: Mapping[str, Any], activations: InputInfo) -> None:
    models = _identity(trained.get("model")), _identity(activations.spec.get("model"))
    if None not in models and models[0] != models[1]:
        raise _refusal(
            f"the coder was trained on {_described(models[0])}, these activations are of {_described(models[1])}; "
            "make activations with the coder's model",
            "MODEL_MISMATCH",
        )


def _check_committed(trained: Mapping[str, Any], activations: Manifest) -> None:
    source = source_of(activations, str(trained["hookpoint"]))
    if source.d_model != int(trained["d_model"]):
        raise _refusal(f"they are {source.d_model} wide, the coder {trained['d_model']}", "WIDTH_MISMATCH")
    if source.token_count == 0:
        raise _refusal(f"{activations.id} has no token for {source.hookpoint}", "NO_TOKENS")
    if "tokens_id" not in trained:
        return
    seen, unseen = token_set(trained, trained), token_set(activations.spec, activations.statistics)
    if seen.overlaps_surely(unseen):
        raise _refusal(
            f"the coder was trained on split {seen.split!r} of {seen.tokens_id}, and these activations are of split "
            f"{unseen.split!r} of the same tokens; train on 'train' and evaluate on 'test'",
            "DOCUMENT_OVERLAP",
        )


def _refusal(message: str, reason: str) -> InvalidSpec:
    return InvalidSpec(message, field="activations_id", reason=reason)


def _identity(model: Any) -> tuple[str, str, int] | None:
    """Returns what makes two model references the same weights; where they lie and the dtype do not."""
    if not isinstance(model, dict):
        return None
    weights = str(model.get("weights") or "trained")
    seed = 0 if weights == "trained" else int(model.get("weights_seed") or 0)
    return str(model.get("fingerprint") or model.get("source")), weights, seed


def _described(identity: tuple[str, str, int] | None) -> str:
    return "a model" if identity is None else f"{identity[1]} weights (seed {identity[2]}) of {identity[0][:16]}"


def _texts(value: Any) -> list[str]:
    return [str(item) for item in value]
