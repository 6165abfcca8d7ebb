"""What a kind checks of its inputs: their kind, how many tasks they make, and that a coder is of the model."""

from collections.abc import Mapping
from typing import Any

from dragoman.artifacts import InputInfo
from dragoman.errors import InvalidSpec, Violation
from hooked_models.description import ModelDescription
from hooked_models.locations import is_hub_id
from hooked_models.model_ref import ModelRef

MAX_TASKS = 10_000


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


def check_coder(coder: InputInfo, ref: ModelRef, model: ModelDescription, field_name: str = "coder_id") -> None:
    """Raises InvalidSpec that says what differs, when a coder was made for another model or another width.

    An autoencoder reads and gives one hookpoint; a transcoder reads one and gives another.
    """
    if coder.manifest is None:
        return
    statistics: Mapping[str, Any] = coder.manifest.statistics
    reads = str(statistics["hookpoint"])
    gives = str(statistics.get("output_hookpoint") or reads)
    d_model = int(statistics["d_model"])
    d_out = int(statistics.get("d_out") or d_model)
    violations = _wrong_width(model, reads, "takes", d_model, field_name)
    if (gives, d_out) != (reads, d_model):
        violations.extend(_wrong_width(model, gives, "gives", d_out, field_name))
    violations.extend(_differences(statistics.get("model") or {}, ref))
    if violations:
        raise InvalidSpec(violations, reason="CODER_MISMATCH")


def _wrong_width(model: ModelDescription, name: str, verb: str, expected: int, field_name: str) -> list[Violation]:
    hookpoint = model.hookpoint(name, field_name)
    width = model.widths[hookpoint]
    if width is None or width == expected:
        return []
    said = f"the coder {verb} vectors of {expected}, {hookpoint} of {model.architecture} has {width}"
    return [Violation(field_name, said)]


def _differences(trained_on: Mapping[str, Any], ref: ModelRef) -> list[Violation]:
    """Returns what the model that a coder was trained on has otherwise; of an imported one not all is known.

    Where the files of its model are not known, two hub ids are compared; a path on either side says nothing.
    """
    names = ["fingerprint", "weights", "dtype"]
    if not trained_on.get("fingerprint") and is_hub_id(str(trained_on.get("source"))) and is_hub_id(ref.source):
        names.insert(0, "source")
    if ref.weights != "trained" and trained_on.get("weights") == ref.weights:
        names += ["weights_seed", "initial_weights_fingerprint"]
    if not trained_on.get("fingerprint"):
        names.remove("fingerprint")
    differing = [name for name in names if trained_on.get(name) not in (None, getattr(ref, name))]
    return [
        Violation(
            f"model.{name}",
            f"the coder was trained on activations with {name} {trained_on[name]!r} "
            f"(model {trained_on.get('source')}), "
            f"this spec has {getattr(ref, name)!r} (model {ref.source}); they must be the same",
        )
        for name in differing
    ]
