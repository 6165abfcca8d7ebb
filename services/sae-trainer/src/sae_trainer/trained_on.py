"""Which tokens of which model a coder has seen, so that an evaluation can tell held-out from seen. No torch."""

from collections.abc import Mapping

from dragoman.artifacts import InputInfo
from dragoman.ids import Json
from hooked_models.core.rows import RowTable, rows_from_start

from sae_trainer.spec import StreamedActivations


def of_stored(activations: InputInfo) -> Mapping[str, Json]:
    """Returns what the activations were made from."""
    statistics = activations.manifest.statistics if activations.manifest else {}
    read = {name: activations.spec.get(name) for name in ("model", "tokens_id", "split")}
    return {**read, **{name: statistics.get(name) for name in ("row_count", "token_policy")}}


def of_streamed(streamed: StreamedActivations, tokens: InputInfo) -> Mapping[str, Json]:
    """Returns what went through the model."""
    assert tokens.manifest is not None, "a job is summed up when its inputs are committed"
    statistics = tokens.manifest.statistics
    rows = rows_from_start(RowTable.of(statistics), streamed.split, streamed.max_tokens)
    return {
        "model": streamed.model.model_dump(mode="json"),
        "tokens_id": streamed.tokens_id,
        "split": streamed.split,
        "row_count": sum(end - first for first, end in rows),
        "token_policy": statistics.get("token_policy"),
    }


def of_taken(coders: InputInfo) -> Mapping[str, Json]:
    """Returns what the coders saw that one was taken from."""
    statistics = coders.manifest.statistics if coders.manifest else {}
    return {name: statistics.get(name) for name in ("model", "tokens_id", "split", "row_count", "token_policy")}
