"""What is refused at submit of coders whose activations are streamed. Imports no torch."""

from collections.abc import Sequence
from typing import Any

from dragoman.artifacts import InputInfo
from dragoman.errors import InvalidSpec
from dragoman.host_memory import machine_memory_bytes
from hooked_models.core.rows import RowTable, rows_from_start
from hooked_models.memory import ELEMENT_BYTES, weights_bytes
from hooked_models.model_refs import ModelRefs
from hooked_models.token_checks import check_policy, check_tokens

from sae_trainer.config import Config
from sae_trainer.core.run_length import ImpossibleRun
from sae_trainer.core.token_order import PIECES_PER_WINDOW
from sae_trainer.planned_run import PlannedRun, held_by, planned
from sae_trainer.run_memory import too_large
from sae_trainer.source import Source
from sae_trainer.spec import CoderSpec, StreamedActivations
from sae_trainer.spec_path import fields_below

_LEAST_PASSES = 2 * PIECES_PER_WINDOW
"""Of the model, that the buffer holds: a window is half of it."""


def resolved_streamed(spec: CoderSpec, models: ModelRefs) -> CoderSpec:
    """Returns a spec with the model's commit and sum, the buffer's dtype and the full names of its hookpoints.

    Raises:
        InvalidSpec: the model cannot run, or lacks a hookpoint.
    """
    streamed = spec.streamed
    assert streamed is not None, "not streamed"
    with fields_below("streamed"):
        model = models.resolve(streamed.model)
        described = models.describe(model)
    changes: dict[str, Any] = {
        "streamed": streamed.model_copy(update={"model": model, "dtype": streamed.dtype or model.dtype}),
        "hookpoint": described.hookpoint(spec.hookpoint, "hookpoint"),
    }
    if spec.transcoder:
        changes["output_hookpoint"] = described.hookpoint(spec.output_hookpoint, "output_hookpoint")
        if changes["output_hookpoint"] == changes["hookpoint"]:
            raise InvalidSpec(
                f"hookpoint and output_hookpoint are both {changes['hookpoint']}; leave output_hookpoint out for an "
                "autoencoder",
                field="output_hookpoint",
            )
    return spec.model_copy(update=changes)


def check_streamed(specs: Sequence[CoderSpec], tokens: InputInfo, models: ModelRefs, config: Config) -> None:
    """Raises InvalidSpec where tokens and model do not go together, or coders do not fit them or a worker's memory."""
    streamed = specs[0].streamed
    assert streamed is not None, "not streamed"
    with fields_below("streamed"):
        model = models.describe(streamed.model)
        check_tokens(tokens, model)
        check_policy(tokens)
        if tokens.manifest is None:
            return
        token_count = _most_tokens(streamed, RowTable.of(tokens.manifest.statistics))
    named = {name for spec in specs for name in (spec.hookpoint, spec.output_hookpoint) if name}
    widths = {name: model.widths[name] or 0 for name in named}
    if not all(widths.values()):  # shows only when the model runs; the task checks then
        return
    plans = [_plan(number, spec, widths, token_count, len(specs)) for number, spec in enumerate(specs)]
    item_bytes = ELEMENT_BYTES[streamed.dtype or streamed.model.dtype]
    buffer_bytes = min(streamed.shuffle_tokens, token_count) * sum(widths.values()) * item_bytes
    held = held_by(plans, buffer_bytes, weights_bytes(model.parameter_count, streamed.model.dtype))
    memory = config.worker_memory_bytes or machine_memory_bytes()
    reason = too_large(held, plans, config, memory, "the largest worker")
    if reason is not None:
        raise InvalidSpec(reason, field="d_sae" if len(specs) == 1 else "coders", reason="RUN_TOO_LARGE")


def _most_tokens(streamed: StreamedActivations, table: RowTable) -> int:
    """Returns how many tokens the rows hold when they are full; their real number shows when they are read."""
    rows = sum(end - first for first, end in rows_from_start(table, streamed.split, streamed.max_tokens))
    if not rows:
        raise InvalidSpec(
            f"the split {streamed.split!r} of these tokens has no rows", field="split", reason="EMPTY_SPLIT"
        )
    token_count = rows * table.tokens_per_row
    least = _LEAST_PASSES * streamed.batch_size * table.tokens_per_row
    if streamed.shuffle_tokens < min(least, token_count):
        raise InvalidSpec(
            f"half of shuffle_tokens ({streamed.shuffle_tokens:,}) holds fewer than {PIECES_PER_WINDOW} passes of "
            f"{streamed.batch_size} rows; raise it to {least:,}, or lower batch_size",
            field="shuffle_tokens",
            reason="BUFFER_TOO_SMALL",
        )
    return token_count


def _plan(number: int, spec: CoderSpec, widths: dict[str, int], token_count: int, count: int) -> PlannedRun:
    reads = Source(spec.hookpoint, widths[spec.hookpoint], (token_count,))
    gives = reads
    if spec.transcoder:
        gives = Source(spec.output_hookpoint, widths[spec.output_hookpoint], (token_count,))
    try:
        return planned(spec, reads, gives)
    except ImpossibleRun as error:
        field = error.field if count == 1 else f"coders[{number}].{error.field}"
        raise InvalidSpec(str(error), field=field) from error
