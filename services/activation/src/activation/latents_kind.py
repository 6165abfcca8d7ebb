"""The `latents` kind: token rows through a model and a coder to the inverted layout of `libs/latent-cache`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dragoman.artifacts import InputInfo, PartInfo
from dragoman.errors import InvalidSpec
from dragoman.ids import Json
from dragoman.kinds import Checkpoint, Context, Part, Progress, Stage, Summary

from activation.core.rows import RowRange, RowTable, cut, rows_in_proportion
from activation.model_refs import ModelRefs, check_coder, check_kind, check_task_count, check_tokens
from activation.spec import LatentsSpec, ModelRef

if TYPE_CHECKING:
    from activation.latents_run import CoderSlot
    from activation.models import LoadedModel

ENCODE, INVERT, INDEX = range(3)
_SHARD_BYTES = 64 << 20
_ENTRY_BYTES = 12
_MAX_SHARDS = 4096


class LatentsKind:
    """Stage 0 encodes row ranges, stage 1 inverts ranges of latents, stage 2 writes the index."""

    name = "latents"
    version = 1
    description = "Where each latent of a coder fires: sparse entries by latent, statistics and strongest windows."
    spec = LatentsSpec
    input_kinds: Mapping[str, str] = {"tokens": "tokens", "coder": "coder"}

    def __init__(
        self,
        models: ModelRefs,
        model: "Callable[[ModelRef], LoadedModel]",
        coder: "Callable[[], CoderSlot]",
    ) -> None:
        """`model` and `coder` are called when a task runs."""
        self._models = models
        self._model = model
        self._coder = coder

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
        described = self._models.describe(spec.model)
        check_tokens(tokens, described)
        check_coder(coder, spec.model, described)
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

    def plan(self, spec: LatentsSpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        tokens, coder = _statistics(inputs, "tokens"), _statistics(inputs, "coder")
        ranges = _ranges(spec, tokens)
        tasks = cut(ranges, spec.rows_per_task)
        d_sae = int(coder["d_sae"])
        positions = sum(end - first for first, end in ranges) * RowTable.of(tokens).tokens_per_row
        per_shard = latents_per_shard(d_sae, positions * int(coder["k"]))
        shards = [(first, min(first + per_shard, d_sae)) for first in range(0, d_sae, per_shard)]
        return [
            Stage("encode", [{"first": first, "end": end} for first, end in tasks]),
            Stage("invert", [{"first": first, "end": end} for first, end in shards]),
            Stage("index", [{}]),
        ]

    def run(self, spec: LatentsSpec, context: Context) -> Iterator[Progress | Part | Checkpoint]:
        if context.task.stage == ENCODE:
            from activation import latents_run  # torch: only where work is done

            yield from latents_run.encode(spec, context, self._model(spec.model), self._coder())
            return
        from activation import invert_run

        step = invert_run.invert if context.task.stage == INVERT else invert_run.write_index
        yield from step(spec, context)

    def combine(self, spec: LatentsSpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        """Tokens from the encoded parts, latents from the index."""
        tokens, coder = _statistics(inputs, "tokens"), _statistics(inputs, "coder")
        ranges = _ranges(spec, tokens)
        encoded = [p for p in parts if p.stage == ENCODE]
        statistics: dict[str, Json] = {
            "d_sae": int(coder["d_sae"]),
            "k": int(coder["k"]),
            "hookpoint": encoded[0].metadata["hookpoint"],
            "token_count": _total(encoded, "train_token_count") + _total(encoded, "test_token_count"),
            "train_token_count": _total(encoded, "train_token_count"),
            "test_token_count": _total(encoded, "test_token_count"),
            "row_count": sum(end - first for first, end in ranges),
            "tokens_id": spec.tokens_id,
            "rows": [[first, end] for first, end in ranges],
        }
        for part in parts:
            if part.stage == INDEX:
                statistics.update(part.metadata)
        return Summary(statistics)


def latents_per_shard(d_sae: int, entry_limit: int) -> int:
    """Returns how many latents share a shard: about 64 MiB of entries when all k of every token fire."""
    shards = min(max(1, -(-entry_limit * _ENTRY_BYTES // _SHARD_BYTES)), _MAX_SHARDS, d_sae)
    return -(-d_sae // shards)


def _ranges(spec: LatentsSpec, statistics: Mapping[str, Any]) -> list[RowRange]:
    return rows_in_proportion(RowTable.of(statistics), spec.split, spec.max_tokens)


def _statistics(inputs: Mapping[str, InputInfo], role: str) -> Mapping[str, Any]:
    manifest = inputs[role].manifest
    assert manifest is not None, "a job is planned when its inputs are committed"
    return manifest.statistics


def _total(parts: Sequence[PartInfo], name: str) -> int:
    return sum(int(str(p.metadata[name])) for p in parts)
