"""The job kind `scores`: explanations against held-out windows."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from dragoman.artifacts import Artifact, InputInfo, PartInfo
from dragoman.errors import FailedPrecondition, InvalidSpec, TransientTaskError, Violation
from dragoman.ids import Json
from dragoman.kinds import Checkpoint, Context, Part, Progress, Stage, Summary
from dragoman.llm.budget import budget_statistics
from dragoman.llm.price import Price, added, spent

from scorer.asking import Asking
from scorer.core.explained import Explained
from scorer.core.judgement import EXAMPLES_SCHEMA, TIMEOUT, Question, Verdict, known_verdicts
from scorer.core.requests import Request
from scorer.core.scorers import METHODS
from scorer.core.scorers.method import EMBEDDINGS, TEXTS
from scorer.core.stopping import StoppingRule
from scorer.core.turns import Turns
from scorer.counting import BUDGET_PART, Reach, budget, count
from scorer.effects_checks import effects_violations, missing_effects
from scorer.embedder import Embedder
from scorer.embedding_spend import embedded_metadata, embedding_cost
from scorer.judge import Judge
from scorer.near_windows import Embed
from scorer.scores_checks import (
    budget_violations,
    check_explanations,
    count_violations,
    negative_violations,
    window_violations,
)
from scorer.spec import ScoresSpec
from scorer.stages import BUDGET, COUNT, JUDGE, TABLES, parts_of, stage_names
from scorer.summing import tables
from scorer.tables import LATENTS, read_explained, table_bytes
from scorer.texts_checks import missing_texts, texts_violations
from scorer.written_source import Written

_MOST_TASKS = 10_000
_REPLY_TOKENS = 1
"""A judge answers with one token."""

Steps = Iterator[Progress | Part | Checkpoint]


class Artifacts(Protocol):
    """Where artifacts that are inputs of inputs are read."""

    def artifact(self, artifact_id: str, /) -> Artifact:
        """Returns a committed artifact. Raises NotFound."""
        ...


class ScoresKind:
    """Counts tokens where asked to, judges windows (some latents a task), then sums up (one task)."""

    name = "scores"
    version = 4
    description = "Scores latents and their explanations on held-out windows: metrics with intervals, floors, nulls."
    spec = ScoresSpec
    input_kinds: Mapping[str, str] = {role: role for role in ("effects", "explanations", "latents")} | {
        "written_latents": "latents"
    }

    def __init__(
        self,
        judge: Judge,
        artifacts: Artifacts,
        embedder: Embedder | None = None,
        price: Price | None = None,
        embedding_price: Price | None = None,
    ) -> None:
        """`price`, `embedding_price`: what tokens of the judge and the embedder cost, where that is known."""
        self._judge = judge
        self._artifacts = artifacts
        self._embedder = embedder
        self._price = price
        self._embedding_price = embedding_price

    def inputs(self, spec: ScoresSpec) -> Mapping[str, str]:
        """See JobKind.inputs."""
        given = {"effects": spec.effects_id, "explanations": spec.explanations_id, "latents": spec.latents_id}
        given["written_latents"] = spec.written_latents_id
        return {role: id_ for role, id_ in given.items() if id_ or role == "latents"}

    def resolve(self, spec: ScoresSpec) -> ScoresSpec:
        """Fills in the judge's name.

        Raises Unavailable without an engine, InvalidSpec for an unknown model, one that cannot do what the scorer
        needs, or a scorer that lacks explanations or effects that it reads, FailedPrecondition for a budget of money
        where no price is known.
        """
        method = METHODS[spec.scorer]
        if not spec.explanations_id and not method.label_free:
            free = ", ".join(name for name, other in METHODS.items() if other.label_free)
            raise InvalidSpec(
                f"{spec.scorer} scores explanations; give explanations_id, or a scorer that needs none: {free}",
                field="explanations_id",
            )
        lacking = (missing_effects, missing_texts, count_violations, budget_violations)
        if violations := [violation for wrong in lacking for violation in wrong(spec)]:
            raise InvalidSpec(violations)
        found: dict[str, object] = {"price": spec.priced(self._price)}
        if not method.needs & {EMBEDDINGS, TEXTS}:
            found["llm"] = self._judge.resolve(spec.llm, method.needs)
        if EMBEDDINGS in method.needs or spec.near_count:
            found["embedder"] = self._embeds().resolve(spec.embedder)
        return spec.model_copy(update=found)

    def check(self, spec: ScoresSpec, inputs: Mapping[str, InputInfo]) -> None:
        """Raises InvalidSpec: other latents were explained, none was, or it asks for what is not kept."""
        violations = [
            *self._source_violations(spec, inputs),
            *negative_violations(spec, inputs["latents"]),
        ]
        if violations:
            raise InvalidSpec(violations)
        if "explanations" in inputs:
            check_explanations(spec, inputs["explanations"])

    def _source_violations(self, spec: ScoresSpec, inputs: Mapping[str, InputInfo]) -> Iterator[Violation]:
        if spec.effects_id:
            return effects_violations(spec, inputs["effects"])
        if spec.written_latents_id:
            return texts_violations(spec, inputs, self._artifacts.artifact)
        return window_violations(spec, inputs["latents"])

    def plan(self, spec: ScoresSpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        """Cuts the attempted latents, in the order of selection, into tasks."""
        attempted = _denominator_counts(spec, inputs)["attempted"]
        size = max(spec.latents_per_task, math.ceil(attempted / _MOST_TASKS))
        groups: list[Mapping[str, Json]] = [
            {"first": first, "end": min(first + size, attempted)} for first in range(0, attempted, size)
        ]
        return [Stage(name, groups if name in (COUNT, JUDGE) else [{}]) for name in stage_names(spec)]

    def run(self, spec: ScoresSpec, context: Context) -> Steps:
        """Counts or judges the questions about the latents of a task, adds up what they cost, or sums up.

        Raises DocumentLeak, UserTaskError when nothing can be asked or too little is answered, TransientTaskError when
        the engine is away or too slow.
        """
        yield Progress(0, 1, "questions", "reading")
        explained = read_explained(context.inputs, spec)
        stage = stage_names(spec)[context.task.stage]
        if stage == COUNT:
            asking = self._asking(spec, context, explained, None)
            yield from count(spec, context, asking, self._judge, self._embedder)
        elif stage == BUDGET:
            parts = parts_of(spec, context, COUNT)
            yield from budget(spec, _REPLY_TOKENS, parts, context, self._embedding_price)
        elif stage == JUDGE:
            reach = Reach.of(spec, context, len(explained.rows))
            within = explained.rows[: reach.end if reach.asks else 0]
            yield from self._judged(spec, context, replace(explained, rows=within))
        else:
            assert stage == TABLES, f"no stage is named {stage}"
            yield from tables(spec, context, explained)

    def _judged(self, spec: ScoresSpec, context: Context, explained: Explained) -> Steps:
        asked: list[tuple[int, list[Question]]] = []
        asking = self._asking(spec, context, explained, lambda texts: self._embeds().embedded(texts, spec.embedder))
        for latent, latent_questions in asking.questions():
            asked.append((latent, latent_questions))
            yield Progress(0, max(1, sum(len(q) for _, q in asked)), "questions", f"windows of latent {latent}")
        turns, tokens = Turns(asked, _rule(spec)), Counter[str]()
        while batch := turns.batch():
            for index, verdict in self._verdicts(spec, [question.request for _, _, question in batch]):
                turns.add(*batch[index], verdict)
                tokens.update(prompt_tokens=verdict.prompt_tokens, cached_tokens=verdict.cached_tokens)
                yield Progress(turns.answered, turns.count, "questions", metrics=dict(tokens))
            turns.look()
        rows = turns.rows
        _check_timeouts(spec, [str(row["outcome"]) for row in rows])
        name = f"judged-{context.task.index:05d}.parquet"
        stopped: dict[str, Json] = {latent: list(why) for latent, why in turns.stopped.items()}
        data = table_bytes(rows, EXAMPLES_SCHEMA)
        metadata: dict[str, Json] = {"stopped": stopped, "embedded": embedded_metadata(asking.near)}
        yield Part(name, data=data, row_count=len(rows), keep=False, metadata=metadata)

    def _verdicts(self, spec: ScoresSpec, requests: Sequence[Request]) -> Iterator[tuple[int, Verdict]]:
        if EMBEDDINGS in METHODS[spec.scorer].needs:
            return self._embeds().verdicts(requests, spec.embedder)
        if TEXTS in METHODS[spec.scorer].needs:
            return known_verdicts(requests)
        return self._judge.verdicts(requests, spec.llm)

    def _embeds(self) -> Embedder:
        if self._embedder is None:
            raise FailedPrecondition("this scorer needs embeddings, and the server has no embedder")
        return self._embedder

    def _asking(self, spec: ScoresSpec, context: Context, explained: Explained, embed: Embed | None) -> Asking:
        latents = context.inputs["latents"].manifest
        tokens = self._artifacts.artifact(str(latents.statistics["tokens_id"]))
        coder = self._artifacts.artifact(latents.inputs["coder"]) if spec.decoder_count else None
        fired = context.inputs.get("written_latents")
        written = None if fired is None else Written.of(fired, self._artifacts.artifact)
        return Asking(spec, context, explained, tokens, embed, coder, written)

    def combine(self, spec: ScoresSpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        """Adds the denominators of the selection to what the last stage summed up."""
        found: Any = next(part for part in parts if part.name == LATENTS).metadata["statistics"]
        method = METHODS[spec.scorer]
        counts = _denominator_counts(spec, inputs)
        denominators = {name: counts.get(name) for name in ("total", "dead", "rare", "parsed")}
        counted = next((part.metadata for part in parts if part.name == BUDGET_PART), {})
        summed: dict[str, Json] = {
            "scorer": method.name,
            "method_version": method.version,
            "model": (spec.embedder if EMBEDDINGS in method.needs else spec.llm).model,
            **denominators,
            "seed": spec.seed,
            **found,
            **budget_statistics(spec, counted),
            "planned_embedded_tokens": counted.get("planned_embedded_tokens"),
        }
        price = self._embedding_price if EMBEDDINGS in method.needs else spec.price or self._price
        cost = added(spent(price, summed), embedding_cost(self._embedding_price, summed))
        return Summary(summed, found["question_count"] - found["answered_count"], cost)


def _denominator_counts(spec: ScoresSpec, inputs: Mapping[str, InputInfo]) -> dict[str, int]:
    """Latents of the dictionary and those attempted, by the explanations or, without any, by the latents."""
    if "explanations" in inputs:
        manifest = inputs["explanations"].manifest
        assert manifest is not None
        names = ("total", "dead", "rare", "attempted", "parsed")
        return {name: _number(manifest.statistics, name) for name in names if name in manifest.statistics}
    manifest = inputs["latents"].manifest
    assert manifest is not None
    total, dead, rare = (_number(manifest.statistics, name) for name in ("d_sae", "dead_count", "rare_count"))
    usable = total - dead - rare
    attempted = min(spec.latent_count, usable) if spec.latent_count else usable
    return {"total": total, "dead": dead, "rare": rare, "attempted": attempted}


def _rule(spec: ScoresSpec) -> StoppingRule | None:
    stop = spec.stop
    if stop is None:
        return None
    return StoppingRule(stop.batch_count, stop.interval_width, stop.threshold, stop.error_rate)


def _check_timeouts(spec: ScoresSpec, outcomes: Sequence[str]) -> None:
    """An engine too slow now may not be later: the task is tried again, and what was answered is in the cache."""
    late = outcomes.count(TIMEOUT)
    if late > spec.max_failed_fraction * len(outcomes):
        raise TransientTaskError(
            f"{late} of {len(outcomes)} questions to {spec.llm.model!r} timed out, more than max_failed_fraction "
            f"({spec.max_failed_fraction:g}) allows; the engine is overloaded or SCORER_LLM_CONCURRENCY is too high",
            reason="LLM_TIMEOUT",
        )


def _number(values: Mapping[str, Json], name: str) -> int:
    value: Any = values[name]
    return int(value)
