"""The kind `evaluation`: a coder on held-out activations. Imports no torch until a task runs."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dragoman.artifacts import InputInfo, Manifest, PartInfo
from dragoman.errors import InvalidSpec, UserTaskError
from dragoman.ids import Json
from dragoman.kinds import Context, Part, Progress, Stage, Summary

from sae_trainer.config import Config
from sae_trainer.document_blocks import Blocks
from sae_trainer.shared_documents import ArtifactOf, shared_document_count, token_set
from sae_trainer.source import declared_hookpoints, find_hookpoint, read_and_given, token_count_of
from sae_trainer.spec import EvaluationSpec

_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
_TASK_TOKENS = 2**18
_MOST_TASKS = 64
"""Each keeps a covariance for the task of the floor, which reads them all."""
_SUMMARY_PART = "evaluation.json"


class EvaluationKind:
    """Measures a coder on documents that it was not trained on."""

    name = "evaluation"
    version = 3
    description = "FVU with interval and Gaussian floor, L0, shrinkage and densities of a coder on held-out documents."
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
        said: Mapping[str, Any] = coder.spec.get("imported") or coder.spec  # pyright: ignore[reportAssignmentType]
        trained = coder.manifest.statistics if coder.manifest else said
        if coder.manifest is not None:
            _check_model(trained, activations)
        _check_hookpoints(trained, activations)
        if coder.manifest is not None and activations.manifest is not None:
            _check_committed(trained, activations.manifest)

    def plan(self, spec: EvaluationSpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        """Tasks of neighbouring shards, one on Gaussian activations, then one that adds up."""
        coder, activations = inputs["coder"].manifest, inputs["activations"].manifest
        if coder is None or activations is None:
            raise InvalidSpec("an evaluation is planned once its inputs are committed")
        reads, _ = read_and_given(activations, coder.statistics)
        floor = [Stage("floor", [{"do": "floor"}])] if spec.floor_tokens else []
        return [Stage("encode", _cut(reads.shards)), *floor, Stage("summarise", [{"do": "summarise"}])]

    def run(self, spec: EvaluationSpec, context: Context) -> Iterator[Progress | Part]:
        """Does one task of any stage."""
        from sae_trainer.evaluating import encode, measure_floor, summarise

        if context.task.payload.get("do") == "summarise":
            yield from summarise(context)
        elif context.task.payload.get("do") == "floor":
            yield from measure_floor(spec, context, self._config)
        else:
            held_out = context.inputs["activations"].manifest
            overlap = self._overlap(context) if context.task.index == 0 else 0
            blocks = Blocks(held_out.spec, held_out.statistics, self._artifact_of)
            yield from encode(spec, context, self._config, blocks, overlap)

    def combine(self, spec: EvaluationSpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        """The figures that the last stage worked out."""
        return Summary(next(part for part in parts if part.name == _SUMMARY_PART).metadata)

    def _overlap(self, context: Context) -> int | None:
        """Returns the number of shared documents, None when it is not known what the coder was trained on.

        Raises UserTaskError when they are of the same tokens artifact.
        """
        trained = context.inputs["coder"].manifest.statistics
        held_out = context.inputs["activations"].manifest
        if "tokens_id" not in trained:
            return None
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
    limit = max(_TASK_TOKENS, -(-sum(token_count_of(shard) for shard in shards) // _MOST_TASKS))
    tasks: list[dict[str, Json]] = []
    first = held = 0
    for index, shard in enumerate(shards):
        if held and held + token_count_of(shard) > limit:
            tasks.append({"first": first, "end": index})
            first, held = index, 0
        held += token_count_of(shard)
    return [*tasks, {"first": first, "end": len(shards)}]


def _check_hookpoints(trained: Mapping[str, Any], activations: InputInfo) -> None:
    """Raises InvalidSpec when the activations lack what the coder reads or, of a transcoder, what it predicts."""
    names = _texts(activations.manifest.statistics["hookpoints"]) if activations.manifest else None
    names = declared_hookpoints(activations.spec) if names is None else names
    wanted = [str(trained.get(name) or "") for name in ("hookpoint", "output_hookpoint")]
    for name in dict.fromkeys(filter(None, wanted)):
        try:
            find_hookpoint(name, names, activations.id)
        except InvalidSpec as error:
            if wanted[1] in ("", wanted[0]):
                raise
            raise _refusal(
                f"the coder is a transcoder from {wanted[0]} to {wanted[1]}, both are needed here: {error}; "
                "make activations with both hookpoints",
                "UNKNOWN_HOOKPOINT",
            ) from error


def _check_model(trained: Mapping[str, Any], activations: InputInfo) -> None:
    model: Any = trained.get("model")
    other: Any = activations.spec.get("model")
    if isinstance(model, dict) and isinstance(other, dict) and not _same_model(model, other):
        raise _refusal(
            f"the coder was trained on {_described(model)}, these activations are of {_described(other)}; "
            "make activations with the coder's model",
            "MODEL_MISMATCH",
        )


def _check_committed(trained: Mapping[str, Any], activations: Manifest) -> None:
    reads, gives = read_and_given(activations, trained)
    for source, width in ((reads, trained["d_model"]), (gives, trained.get("d_out") or trained["d_model"])):
        if source.d_model != int(width):
            what = f"the activations of {source.hookpoint} are {source.d_model} wide, for the coder {width} are needed"
            raise _refusal(what, "WIDTH_MISMATCH")
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


def _same_model(trained: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """True when two model references mean the same weights; where they lie and the dtype do not matter.

    Of a coder from elsewhere the files of its model may not be known: then two hub ids are compared, and a name that
    is a path on either side says nothing.
    """
    if _variant(trained) != _variant(other):
        return False
    sums = [str(model.get("fingerprint") or "") for model in (trained, other)]
    if all(sums):
        return sums[0] == sums[1]
    sources = [str(model.get("source")) for model in (trained, other)]
    return sources[0] == sources[1] or not all(_HUB_ID.match(source) for source in sources)


def _variant(model: Mapping[str, Any]) -> tuple[str, int]:
    weights = str(model.get("weights") or "trained")
    return weights, 0 if weights == "trained" else int(model.get("weights_seed") or 0)


def _described(model: Mapping[str, Any]) -> str:
    weights, seed = _variant(model)
    return f"{weights} weights (seed {seed}) of {str(model.get('fingerprint') or model.get('source'))[:32]}"


def _texts(value: Any) -> list[str]:
    return [str(item) for item in value]
