"""The `latents` kind: token rows through a model and a coder to the inverted layout of `libs/latent-cache`."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dragoman.artifacts import InputInfo, PartInfo
from dragoman.errors import InvalidSpec
from dragoman.ids import Json
from dragoman.kinds import Checkpoint, Context, Part, Progress, Stage, Summary
from hooked_models.core.rows import RowRange, RowTable, cut, rows_in_proportion
from hooked_models.model_ref import ModelRef
from hooked_models.model_refs import ModelRefs, weights_origin
from hooked_models.token_checks import check_tokens

from activation.coder_memory import check_coders_fit
from activation.input_checks import check_coder, check_kind, check_task_count
from activation.spec import LatentsSpec
from activation.token_policy import check_coder_policy

if TYPE_CHECKING:
    from hooked_models.models import LoadedModel

    from activation.latents_run import CoderSlot

ENCODE, DRAW, INVERT, INDEX, NEIGHBOURS, JOIN = range(6)
_SHARD_BYTES = 64 << 20
_ENTRY_BYTES = 20
_MAX_SHARDS = 1024
_SHARD_LATENTS = 4096
_NEIGHBOUR_LATENTS = 1 << 14
_MAX_NEIGHBOUR_ENTRIES = 1 << 28
_UNKNOWN_L0 = 64


class LatentsKind:
    """Stage 0 encodes row ranges, stage 1 draws the pools of silent windows, stage 2 inverts ranges of latents, stage 3
    writes the index.

    When neighbours are asked for, stage 4 counts what fires together, for ranges of latents, and stage 5 joins them.
    """

    name = "latents"
    version = 2
    description = "Where each latent of a coder fires: sparse entries by latent, statistics and strongest windows."
    spec = LatentsSpec
    input_kinds: Mapping[str, str] = {"tokens": "tokens", "coder": "coder"}

    def __init__(
        self,
        models: ModelRefs,
        model: "Callable[[ModelRef], LoadedModel]",
        coder: "Callable[[], CoderSlot]",
        memory_bytes: int | None = None,
    ) -> None:
        """`model` and `coder` are called when a task runs. `memory_bytes`: of the largest worker; None: not known."""
        self._models = models
        self._model = model
        self._coder = coder
        self._memory_bytes = memory_bytes

    def inputs(self, spec: LatentsSpec) -> Mapping[str, str]:
        return {"tokens": spec.tokens_id, "coder": spec.coder_id}

    def resolve(self, spec: LatentsSpec) -> LatentsSpec:
        """Fingerprints the model."""
        model = self._models.resolve(spec.model)
        self._models.describe(model)
        return spec.model_copy(update={"model": model})

    def check(self, spec: LatentsSpec, inputs: Mapping[str, InputInfo]) -> None:
        tokens = check_kind(inputs, "tokens", "tokens", "tokens_id")
        coder = check_kind(inputs, "coder", "coder", "coder_id")
        ctx_len = int(str(tokens.spec.get("ctx_len", spec.window_length)))
        _check_places(spec, ctx_len)
        described = self._models.describe(spec.model)
        check_tokens(tokens, described)
        check_coder(coder, spec.model, described)
        check_coders_fit({"coder_id": coder}, described, spec.model.dtype, self._memory_bytes)
        check_coder_policy(tokens, coder)
        ctx_len = int(str(tokens.spec.get("ctx_len", spec.window_length)))
        if spec.window_length > ctx_len:
            raise InvalidSpec(
                f"windows of {spec.window_length} tokens are longer than the rows of {tokens.id}, {ctx_len} tokens",
                field="window_length",
                reason="WINDOW_TOO_LONG",
            )
        if tokens.manifest is not None:
            row_count = sum(end - first for first, end in _ranges(spec, tokens.manifest.statistics))
            check_task_count(row_count, spec.rows_per_task, spec.split)
        if coder.manifest is not None and spec.neighbours:
            _check_neighbour_tokens(spec, tokens, coder.manifest.statistics)

    def plan(self, spec: LatentsSpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        tokens, coder = _statistics(inputs, "tokens"), _statistics(inputs, "coder")
        ranges = _ranges(spec, tokens)
        d_sae = int(coder["d_sae"])
        positions = sum(end - first for first, end in ranges) * RowTable.of(tokens).tokens_per_row
        per_shard = latents_per_shard(d_sae, positions * _l0(coder))
        encoded = _payloads(cut(ranges, spec.rows_per_task))
        stages = [
            Stage("encode", [{**payload, "latents_per_shard": per_shard} for payload in encoded]),
            Stage("draw", [{"rows": [[first, end] for first, end in ranges]}]),
            Stage("invert", _payloads(cut([(0, d_sae)], per_shard))),
            Stage("index", [{}]),
        ]
        if spec.neighbours:
            stages += [Stage("neighbours", _payloads(cut([(0, d_sae)], _NEIGHBOUR_LATENTS))), Stage("join", [{}])]
        return stages

    def run(self, spec: LatentsSpec, context: Context) -> Iterator[Progress | Part | Checkpoint]:
        if context.task.stage == ENCODE:
            from activation import latents_run  # torch: only where work is done

            yield from latents_run.encode(spec, context, self._model(spec.model), self._coder())
            return
        from activation import draw_run, index_run, invert_run, neighbours_run

        steps = {
            DRAW: draw_run.draw,
            INVERT: invert_run.invert,
            INDEX: index_run.write_index,
            NEIGHBOURS: neighbours_run.count,
            JOIN: neighbours_run.join,
        }
        yield from steps[context.task.stage](spec, context)

    def combine(self, spec: LatentsSpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        """Tokens from the encoded parts, latents from the index."""
        tokens, coder = _statistics(inputs, "tokens"), _statistics(inputs, "coder")
        ranges = _ranges(spec, tokens)
        encoded = [p for p in parts if p.stage == ENCODE]
        statistics: dict[str, Json] = {
            "d_sae": int(coder["d_sae"]),
            "k": None if coder.get("k") is None else int(coder["k"]),
            "hookpoint": encoded[0].metadata["hookpoint"],
            "token_count": _total(encoded, "train_token_count") + _total(encoded, "test_token_count"),
            "train_token_count": _total(encoded, "train_token_count"),
            "test_token_count": _total(encoded, "test_token_count"),
            "row_count": sum(end - first for first, end in ranges),
            "tokens_id": spec.tokens_id,
            "rows": [[first, end] for first, end in ranges],
            "weights": weights_origin(spec.model),
            "token_policy": tokens.get("token_policy"),
        }
        for part in parts:
            if part.stage in (INDEX, JOIN):
                statistics.update(part.metadata)
        return Summary(statistics)


def latents_per_shard(d_sae: int, entry_limit: int) -> int:
    """Returns how many latents share a shard: about 64 MiB of encoded entries when all k of every token fire.

    An invert task reads one slice of every encoded part, so a job makes parts x shards slices. There are at most 1,024
    shards: 10^9 tokens in 9,766 tasks of 400 rows of 256 at d_sae 131,072 and k 32 are 640 GB of encoded entries in
    1,024 shards of 128 latents, 10^7 slices of 64 KB. There are at least d_sae / 4,096, so that what is kept for each
    latent of a shard stays small too. Neither depends on how the rows are cut into tasks.
    """
    shards = max(1, -(-entry_limit * _ENTRY_BYTES // _SHARD_BYTES), -(-d_sae // _SHARD_LATENTS))
    return -(-d_sae // min(shards, _MAX_SHARDS, d_sae))


def _payloads(ranges: Sequence[tuple[int, int]]) -> list[Mapping[str, Json]]:
    return [{"first": first, "end": end} for first, end in ranges]


def _l0(coder: Mapping[str, Any]) -> int:
    """How many latents fire for a token: k, else what was measured, else a guess; it only sizes shards."""
    return math.ceil(float(coder.get("k") or coder.get("l0") or _UNKNOWN_L0))


def _check_places(spec: LatentsSpec, ctx_len: int) -> None:
    """A place in a task is an int32: see `activation.core.entries`."""
    if spec.rows_per_task * ctx_len >= 1 << 31:
        raise InvalidSpec(
            f"a task of {spec.rows_per_task:,} rows of {ctx_len:,} tokens has 2^31 places or more; "
            f"use at most {((1 << 31) - 1) // ctx_len:,} rows",
            field="rows_per_task",
            reason="TASK_TOO_LARGE",
        )


def _check_neighbour_tokens(spec: LatentsSpec, tokens: InputInfo, coder: Mapping[str, Any]) -> None:
    limit = _MAX_NEIGHBOUR_ENTRIES // _l0(coder)
    counted = spec.neighbour_tokens
    if tokens.manifest is not None:
        counted = min(counted, int(str(tokens.manifest.statistics["token_count"])))
    if counted > limit:
        raise InvalidSpec(
            f"neighbours are counted in memory; {counted:,} tokens with {_l0(coder)} latents each are too many; "
            f"use at most {limit:,}",
            field="neighbour_tokens",
            reason="TOO_MANY_TOKENS",
        )


def _ranges(spec: LatentsSpec, statistics: Mapping[str, Any]) -> list[RowRange]:
    return rows_in_proportion(RowTable.of(statistics), spec.split, spec.max_tokens)


def _statistics(inputs: Mapping[str, InputInfo], role: str) -> Mapping[str, Any]:
    manifest = inputs[role].manifest
    assert manifest is not None, "a job is planned when its inputs are committed"
    return manifest.statistics


def _total(parts: Sequence[PartInfo], name: str) -> int:
    return sum(int(str(p.metadata[name])) for p in parts)
