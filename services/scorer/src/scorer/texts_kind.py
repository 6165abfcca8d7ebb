"""The job kind `texts`: what a language model writes from explanations, a corpus for `tokens`."""

import io
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from dragoman.artifacts import InputInfo, PartInfo
from dragoman.errors import InvalidSpec, UserTaskError
from dragoman.ids import Json
from dragoman.kinds import Checkpoint, Context, Part, Progress, Stage, Summary
from dragoman.llm import Completion
from dragoman.llm.budget import budget_statistics
from dragoman.llm.price import Price, spent
from latent_cache.token_rows import TokenRows

from scorer.core.examples import NEUTRAL, WRITTEN
from scorer.core.explained import COLUMNS, Explained
from scorer.core.prompts_texts import VERSION, text_prompts, texts_of
from scorer.counting import BUDGET_PART, OVER_BUDGET, PLANNED, Reach, budget, counted_part, estimates
from scorer.scorecard_checks import Artifacts
from scorer.stages import BUDGET, COUNT, TABLES
from scorer.tables import EXPLANATIONS, table_bytes
from scorer.text_writer import Reply, TextWriter
from scorer.texts_spec import TextsSpec

TEXTS, REPLIES = "texts.parquet", "replies.parquet"
WROTE, UNPARSABLE = "answered", "unparsable"
_MOST_TASKS = 10_000
_WRITE = "write"
_TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens")

TEXTS_SCHEMA = pa.schema([("text", pa.string()), ("latent", pa.int32()), ("kind", pa.string()), ("number", pa.int32())])
REPLIES_SCHEMA = pa.schema(
    [
        ("latent", pa.int32()),
        ("kind", pa.string()),
        ("outcome", pa.string()),
        ("reply", pa.string()),
        ("text_count", pa.int32()),
        *[(name, pa.int64()) for name in _TOKENS],
    ]
)

Steps = Iterator[Progress | Part | Checkpoint]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Asked:
    """One prompt."""

    latent: int
    kind: str
    most: int
    """Texts that are wanted of it."""
    prompt: str


class TextsKind:
    """Counts tokens where asked to, writes (some latents a task), then joins tables (one task)."""

    name = "texts"
    version = 1
    description = "Texts that a language model writes from explanations, and others that they do not fit."
    spec = TextsSpec
    input_kinds: Mapping[str, str] = {"explanations": "explanations"}

    def __init__(self, writer: TextWriter, artifacts: Artifacts, price: Price | None = None) -> None:
        """`artifacts`: where inputs of inputs are read. `price`: what tokens cost, where that is known."""
        self._writer = writer
        self._artifacts = artifacts
        self._price = price

    def inputs(self, spec: TextsSpec) -> Mapping[str, str]:
        """See JobKind.inputs."""
        return {"explanations": spec.explanations_id}

    def resolve(self, spec: TextsSpec) -> TextsSpec:
        """Fills in the model's name, and the price where one is needed.

        Raises Unavailable without an engine, InvalidSpec for an unknown model, FailedPrecondition without a price.
        """
        if violations := spec.price_violations():
            raise InvalidSpec(violations)
        llm = spec.llm.model_copy(update={"model": self._writer.resolve(spec.llm.model)})
        return spec.model_copy(update={"llm": llm, "price": spec.priced(self._price)})

    def check(self, spec: TextsSpec, inputs: Mapping[str, InputInfo]) -> None:
        """Raises InvalidSpec where there is no explanation to write from."""
        manifest = inputs["explanations"].manifest
        if manifest is not None and not manifest.statistics.get("parsed"):
            raise InvalidSpec(
                f"{spec.explanations_id} has no explanation to write from; see the outcome and reason columns of its "
                "explanations.parquet",
                field="explanations_id",
                reason="NO_EXPLANATIONS",
            )

    def plan(self, spec: TextsSpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        """Cuts the explained latents into tasks."""
        count = _explained_count(inputs)
        size = max(spec.latents_per_task, math.ceil(count / _MOST_TASKS))
        groups: list[Mapping[str, Json]] = [
            {"first": first, "end": min(first + size, count)} for first in range(0, count, size)
        ]
        return [Stage(name, groups if name in (COUNT, _WRITE) else [{}]) for name in _stage_names(spec)]

    def run(self, spec: TextsSpec, context: Context) -> Steps:
        """Counts or writes the texts of a task's latents, adds up what they cost, or joins tables.

        Raises UserTaskError when too little is written, TransientTaskError when the engine is away.
        """
        stage = _stage_names(spec)[context.task.stage]
        if stage == COUNT:
            yield from self._counted(spec, context)
        elif stage == BUDGET:
            yield from budget(spec, spec.llm.max_tokens, _parts_of(spec, context, COUNT), context)
        elif stage == _WRITE:
            yield from self._written(spec, context)
        else:
            yield from _joined(spec, context)

    def _counted(self, spec: TextsSpec, context: Context) -> Steps:
        by_latent = _prompts(spec, context)
        yield Progress(0, len(by_latent), "latents", "counting tokens")
        prompts = [each.prompt for asked in by_latent for each in asked]
        counts = self._writer.count(prompts, spec.llm)
        counter = "subject model" if counts is None else "engine"
        left = iter(estimates(prompts, self._token_rows(context)) if counts is None else counts)
        planned = [{"tokens": sum(itertools.islice(left, len(asked))), "replies": len(asked)} for asked in by_latent]
        yield counted_part(context, planned, counter)

    def _token_rows(self, context: Context) -> TokenRows:
        latents = self._artifacts.artifact(context.inputs["explanations"].manifest.inputs["latents"])
        return TokenRows(self._artifacts.artifact(str(latents.manifest.statistics["tokens_id"])))

    def _written(self, spec: TextsSpec, context: Context) -> Steps:
        by_latent, first = _prompts(spec, context), int(str(context.task.payload["first"]))
        reach = Reach.of(spec, context, first + len(by_latent))
        within = by_latent[: max(0, reach.end - first)] if reach.asks else []
        asked = [each for prompts in within for each in prompts]
        yield Progress(0, max(1, len(asked)), "prompts")
        found: dict[int, Reply] = {}
        for index, reply in self._writer.write([each.prompt for each in asked], spec.llm, spec.seed):
            found[index] = reply
            yield Progress(len(found), len(asked), "prompts")
        texts: list[Row] = []
        replies = [_reply_row(each, found[index], texts) for index, each in enumerate(asked)]
        number = context.task.index
        yield Part(f"texts-{number:05d}.parquet", data=table_bytes(texts, TEXTS_SCHEMA), keep=False)
        yield Part(f"replies-{number:05d}.parquet", data=table_bytes(replies, REPLIES_SCHEMA), keep=False)

    def combine(self, spec: TextsSpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        """See JobKind.combine."""
        found: Any = next(part for part in parts if part.name == REPLIES).metadata["statistics"]
        counted = next((part for part in parts if part.name == BUDGET_PART), None)
        count = _explained_count(inputs)
        end = count if counted is None else int(str(counted.metadata["end"]))
        summed: dict[str, Json] = {
            "model": spec.llm.model,
            "prompt_version": VERSION,
            "explained": count,
            OVER_BUDGET: count - end,
            PLANNED: end if spec.dry_run else 0,
            **found,
            **budget_statistics(spec, counted.metadata if counted else {}),
        }
        return Summary(summed, sum(found["failed_by_outcome"].values()), spent(spec.price or self._price, summed))


def _stage_names(spec: TextsSpec) -> Sequence[str]:
    return (*((COUNT, BUDGET) if spec.counts_tokens else ()), _WRITE, TABLES)


def _parts_of(spec: TextsSpec, context: Context, stage: str) -> Sequence[PartInfo]:
    return context.parts[_stage_names(spec).index(stage)]


def _explained_count(inputs: Mapping[str, InputInfo]) -> int:
    manifest = inputs["explanations"].manifest
    assert manifest is not None, "a job is planned when its inputs are committed"
    return int(str(manifest.statistics["parsed"]))


def _prompts(spec: TextsSpec, context: Context) -> list[list[_Asked]]:
    """The prompts of each latent of a task."""
    table = pq.read_table(io.BytesIO(context.inputs["explanations"].read(EXPLANATIONS)), columns=list(COLUMNS))
    explained = Explained.of(table.to_pylist(), spec.seed).explanations
    first, end = (int(str(context.task.payload[name])) for name in ("first", "end"))
    wanted = ((WRITTEN, spec.text_count), (NEUTRAL, spec.neutral_count))
    return [
        [_Asked(j, kind, count, prompt) for kind, count in wanted for prompt in text_prompts(kind, explanation, count)]
        for j, explanation in list(explained.items())[first:end]
    ]


def _reply_row(asked: _Asked, reply: Reply, texts: list[Row]) -> Row:
    """Returns a row of REPLIES_SCHEMA, and adds what was written to `texts`."""
    row: Row = {"latent": asked.latent, "kind": asked.kind, "text_count": 0, **dict.fromkeys(_TOKENS, 0)}
    if not isinstance(reply, Completion):
        return {**row, "outcome": reply.kind.value, "reply": reply.message}
    known = sum(text["latent"] == asked.latent and text["kind"] == asked.kind for text in texts)
    found = texts_of(reply.text)[: asked.most - known]
    texts += [
        {"text": text, "latent": asked.latent, "kind": asked.kind, "number": known + i} for i, text in enumerate(found)
    ]
    spent = (reply.usage.prompt, reply.usage.cached, reply.usage.completion)
    row |= {"outcome": WROTE if found else UNPARSABLE, "reply": reply.text, "text_count": len(found)}
    return row | dict(zip(_TOKENS, spent, strict=True))


def _joined(spec: TextsSpec, context: Context) -> Steps:
    tables: dict[str, pa.Table] = {}
    for name, prefix in ((TEXTS, "texts-"), (REPLIES, "replies-")):
        parts = [part for part in _parts_of(spec, context, _WRITE) if part.name.startswith(prefix)]
        tables[name] = pa.concat_tables([pq.read_table(io.BytesIO(context.own.read(part.name))) for part in parts])
        yield Progress(len(tables), 2, "tables")
    replies: list[Row] = tables[REPLIES].to_pylist()
    statistics = _statistics(replies, tables[TEXTS].to_pylist())
    _check_replies(spec, replies, statistics)
    for name, table in tables.items():
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd")
        yield Part(name, data=sink.getvalue(), row_count=table.num_rows, metadata={"statistics": statistics})


def _statistics(replies: Sequence[Row], texts: Sequence[Row]) -> dict[str, Json]:
    outcomes = Counter(str(row["outcome"]) for row in replies)
    kinds = Counter(str(row["kind"]) for row in texts)
    return {
        "latents_with_texts": len({row["latent"] for row in texts if row["kind"] == WRITTEN}),
        "text_count": kinds[WRITTEN],
        "neutral_count": kinds[NEUTRAL],
        "question_count": len(replies),
        "failed_by_outcome": {name: count for name, count in sorted(outcomes.items()) if name != WROTE},
        **{name: sum(int(row[name]) for row in replies) for name in _TOKENS},
    }


def _check_replies(spec: TextsSpec, replies: Sequence[Row], statistics: Mapping[str, Json]) -> None:
    failed = sum(row["outcome"] != WROTE for row in replies)
    if spec.counts_tokens and not replies:
        return
    if failed > spec.max_failed_fraction * len(replies) or failed == len(replies):
        raise UserTaskError(
            f"{failed} of {len(replies)} prompts gave no text from {spec.llm.model!r} "
            f"({statistics['failed_by_outcome']}), more than max_failed_fraction ({spec.max_failed_fraction:g}) "
            "allows; use another model or raise it",
            reason="TOO_MANY_FAILED",
        )
