"""What a spec says of its model, resolved and checked against its inputs. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from dragoman.artifacts import InputInfo
from dragoman.errors import InvalidSpec, Violation

from activation.description import Descriptions, ModelDescription
from activation.locations import MODEL, Located, Locations
from activation.spec import ModelRef

MAX_TASKS = 10_000


class ModelRefs:
    """Resolves and describes models."""

    def __init__(self, locations: Locations, descriptions: Descriptions) -> None:
        self._locations = locations
        self._descriptions = descriptions

    def resolve(self, ref: ModelRef) -> ModelRef:
        """Returns the reference with its canonical source, commit and fingerprint. Raises InvalidSpec."""
        located = self._locations.locate(ref.source, ref.revision, MODEL, "model.source")
        if ref.fingerprint and ref.fingerprint != located.fingerprint:
            raise InvalidSpec(
                f"the model's files have sha256 {located.fingerprint}, the spec says {ref.fingerprint}; "
                "leave the field empty to take what is there",
                field="model.fingerprint",
                reason="FINGERPRINT_MISMATCH",
            )
        changes: dict[str, Any] = {
            "source": located.source,
            "revision": located.revision,
            "fingerprint": located.fingerprint,
            # The seed of weights that are not drawn means nothing, and must not make another artifact.
            "weights_seed": 0 if ref.weights == "trained" else ref.weights_seed,
        }
        return ref.model_copy(update=changes)

    def describe(self, ref: ModelRef) -> ModelDescription:
        """Returns the shape of a resolved model."""
        return self._descriptions.model(Located(ref.source, ref.revision, ref.fingerprint), "model.source")


def check_kind(inputs: Mapping[str, InputInfo], role: str, kind: str, field_name: str) -> InputInfo:
    """Returns an input. Raises InvalidSpec when it is of another kind."""
    info = inputs[role]
    if info.kind != kind:
        raise InvalidSpec(
            f"{info.id} is an artifact of kind {info.kind!r}; expected kind {kind!r}",
            field=field_name,
            reason="WRONG_KIND",
        )
    return info


def check_tokens(tokens: InputInfo, model: ModelDescription) -> None:
    """Raises InvalidSpec when rows are too long for a model, or hold ids that it has no embedding for."""
    ctx_len = int(str(tokens.spec.get("ctx_len", 0)))
    if model.context_length is not None and ctx_len > model.context_length:
        raise InvalidSpec(
            f"the rows of {tokens.id} have {ctx_len} tokens; "
            f"{model.architecture} takes at most {model.context_length}; "
            f"make tokens with ctx_len <= {model.context_length}",
            field="tokens_id",
            reason="CONTEXT_TOO_LONG",
        )
    if tokens.manifest is None:
        return
    vocab_size = int(str(tokens.manifest.statistics["vocab_size"]))
    if vocab_size > model.vocab_size:
        raise InvalidSpec(
            f"the tokenizer of {tokens.id} has {vocab_size:,} tokens, "
            f"the model has embeddings for {model.vocab_size:,}; "
            "they do not belong together: make tokens with this model's tokenizer",
            field="tokens_id",
            reason="VOCABULARY_MISMATCH",
        )


def check_task_count(row_count: int, rows_per_task: int, split: str) -> None:
    """Raises InvalidSpec when there are no rows, or too many tasks."""
    if not row_count:
        raise InvalidSpec(f"the split {split!r} of these tokens has no rows", field="split", reason="EMPTY_SPLIT")
    if -(-row_count // rows_per_task) > MAX_TASKS - 2:
        needed = -(-row_count // (MAX_TASKS - 2))
        raise InvalidSpec(
            f"{row_count:,} rows in tasks of {rows_per_task} are more than {MAX_TASKS:,} tasks; use at least {needed}",
            field="rows_per_task",
            reason="TOO_MANY_TASKS",
        )


def check_coder(coder: InputInfo, ref: ModelRef, model: ModelDescription) -> None:
    """Raises InvalidSpec that says what differs, when a coder was made for another model or another width."""
    if coder.manifest is None:
        return
    statistics: Mapping[str, Any] = coder.manifest.statistics
    hookpoint = model.hookpoint(str(statistics["hookpoint"]), "coder_id")
    width, d_model = model.widths[hookpoint], int(statistics["d_model"])
    violations: list[Violation] = []
    if width is not None and width != d_model:
        violations.append(
            Violation(
                "coder_id", f"the coder takes vectors of {d_model}, {hookpoint} of {model.architecture} gives {width}"
            )
        )
    violations.extend(_differences(ModelRef.model_validate(dict(statistics["model"])), ref))
    if violations:
        raise InvalidSpec(violations, reason="CODER_MISMATCH")


def _differences(trained_on: ModelRef, ref: ModelRef) -> list[Violation]:
    names = ["fingerprint", "weights", "dtype"]
    if ref.weights != "trained" and trained_on.weights == ref.weights:
        names.append("weights_seed")
    differing = [name for name in names if getattr(trained_on, name) != getattr(ref, name)]
    return [
        Violation(
            f"model.{name}",
            f"the coder was trained on activations with {name} {getattr(trained_on, name)!r} "
            f"(model {trained_on.source}), "
            f"this spec has {getattr(ref, name)!r} (model {ref.source}); they must be the same",
        )
        for name in differing
    ]
