"""The job kind `scores`: explanations against held-out windows."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from dragoman.artifacts import Artifact, InputInfo, PartInfo
from dragoman.errors import FailedPrecondition, InvalidSpec, TransientTaskError, Violation
from dragoman.ids import Json
from dragoman.kinds import Checkpoint, Context, Part, Progress, Stage, Summary
from latent_cache import KeptWindows

from scorer.core.examples import NEAR, NEIGHBOUR, RANDOM, check_disjoint, interleaved, numbered, placed
from scorer.core.explained import Explained
from scorer.core.judgement import EXAMPLES_SCHEMA, TIMEOUT, Question, Verdict
from scorer.core.measures import LABELLED, RANKED
from scorer.core.questions import label_free_questions, questions
from scorer.core.requests import Request
from scorer.core.rivals import rivals_of
from scorer.core.scorers import METHODS, Counts
from scorer.core.scorers.method import EMBEDDINGS
from scorer.core.stopping import StoppingRule
from scorer.core.turns import Turns
from scorer.embedder import Embedder
from scorer.judge import Judge
from scorer.spec import ScoresSpec
from scorer.summing import tables
from scorer.tables import LATENTS, read_explained, table_bytes
from scorer.windows import HeldOutWindows

_JUDGE = 0
_MOST_TASKS = 10_000

Steps = Iterator[Progress | Part | Checkpoint]


class Artifacts(Protocol):
    """Where artifacts that are inputs of inputs are read."""

    def artifact(self, artifact_id: str, /) -> Artifact:
        """Returns a committed artifact. Raises NotFound."""
        ...


class ScoresKind:
    """Judges windows (stage 0, some latents a task), then sums up (stage 1, one task)."""

    name = "scores"
    version = 3
    description = "Scores latents and their explanations on held-out windows: metrics with intervals, floors, nulls."
    spec = ScoresSpec
    input_kinds: Mapping[str, str] = {"explanations": "explanations", "latents": "latents"}

    def __init__(self, judge: Judge, artifacts: Artifacts, embedder: Embedder | None = None) -> None:
        self._judge = judge
        self._artifacts = artifacts
        self._embedder = embedder

    def inputs(self, spec: ScoresSpec) -> Mapping[str, str]:
        """See JobKind.inputs."""
        explanations = {"explanations": spec.explanations_id} if spec.explanations_id else {}
        return {**explanations, "latents": spec.latents_id}

    def resolve(self, spec: ScoresSpec) -> ScoresSpec:
        """Fills in the judge's name.

        Raises Unavailable without an engine, InvalidSpec for an unknown model, one that cannot do what the scorer
        needs, or a scorer that shows explanations where there are none.
        """
        method = METHODS[spec.scorer]
        if not spec.explanations_id and not method.label_free:
            free = ", ".join(name for name, other in METHODS.items() if other.label_free)
            raise InvalidSpec(
                f"{spec.scorer} scores explanations; give explanations_id, or a scorer that needs none: {free}",
                field="explanations_id",
            )
        found: dict[str, object] = {}
        if EMBEDDINGS not in method.needs:
            found["llm"] = self._judge.resolve(spec.llm, method.needs)
        if EMBEDDINGS in method.needs or spec.near_count:
            found["embedder"] = self._embeds().resolve(spec.embedder)
        return spec.model_copy(update=found)

    def check(self, spec: ScoresSpec, inputs: Mapping[str, InputInfo]) -> None:
        """Raises InvalidSpec: other latents were explained, none was, or it asks for windows that are not kept."""
        violations = [
            *_window_violations(spec, KeptWindows.of(inputs["latents"])),
            *_negative_violations(spec, inputs["latents"]),
        ]
        if violations:
            raise InvalidSpec(violations)
        if "explanations" in inputs:
            _check_explanations(spec, inputs["explanations"])

    def _tokens(self, latents_statistics: Mapping[str, Json]) -> Artifact:
        return self._artifacts.artifact(str(latents_statistics["tokens_id"]))

    def plan(self, spec: ScoresSpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        """Cuts the attempted latents, in the order of selection, into tasks."""
        attempted = _denominator_counts(spec, inputs)["attempted"]
        size = max(spec.latents_per_task, math.ceil(attempted / _MOST_TASKS))
        groups: list[Mapping[str, Json]] = [
            {"first": first, "end": min(first + size, attempted)} for first in range(0, attempted, size)
        ]
        return [Stage("judge", groups), Stage("tables", [{}])]

    def run(self, spec: ScoresSpec, context: Context) -> Steps:
        """Judges the latents of a task, or sums up.

        Raises DocumentLeak, UserTaskError when nothing can be asked or too little is answered, TransientTaskError when
        the engine is away or too slow.
        """
        yield Progress(0, 1, "questions", "reading")
        explained = read_explained(context.inputs, spec)
        if context.task.stage == _JUDGE:
            yield from self._judged(spec, context, explained)
        else:
            yield from tables(spec, context, explained)

    def _judged(self, spec: ScoresSpec, context: Context, explained: Explained) -> Steps:
        asked: list[tuple[int, list[Question]]] = []
        for latent, latent_questions in self._questions(spec, context, explained):
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
        yield Part(name, data=data, row_count=len(rows), keep=False, metadata={"stopped": stopped})

    def _verdicts(self, spec: ScoresSpec, requests: Sequence[Request]) -> Iterator[tuple[int, Verdict]]:
        if EMBEDDINGS in METHODS[spec.scorer].needs:
            return self._embeds().verdicts(requests, spec.embedder)
        return self._judge.verdicts(requests, spec.llm)

    def _embeds(self) -> Embedder:
        if self._embedder is None:
            raise FailedPrecondition("this scorer needs embeddings, and the server has no embedder")
        return self._embedder

    def _questions(
        self, spec: ScoresSpec, context: Context, explained: Explained
    ) -> Iterator[tuple[int, list[Question]]]:
        latents = context.inputs["latents"]
        tokens = self._tokens(latents.manifest.statistics)
        method = METHODS[spec.scorer]
        rows = explained.rows[_number(context.task.payload, "first") : _number(context.task.payload, "end")]
        attempted = [int(row["latent"]) for row in rows]
        wanted = attempted if method.label_free else [j for j in attempted if j in explained.explanations]
        windows = HeldOutWindows(
            latents, tokens, spec.seed, wanted, lambda texts: self._embeds().vectors(texts, spec.embedder)
        )
        for latent in wanted:
            rivals = rivals_of(latent, explained.explanations, method.rivals, spec.seed) if method.rivals else ()
            drawn, counts = windows.draw(latent, method, _asked(spec), spec.null_count, rivals)
            examples = method.examples(drawn, counts, spec.seed)
            if method.label_free:
                nulls = method.null_examples(drawn, counts, spec.seed, spec.null_count)
                check_disjoint(latent, [*examples, *nulls], explained.seen_by(latent, None))
                yield latent, label_free_questions(method, numbered(examples), numbered(nulls), windows.pieces)
                continue
            partners = explained.partners if spec.null_count else {}
            check_disjoint(latent, examples, explained.seen_by(latent, partners.get(latent)))
            ordered = interleaved(examples) if spec.stop else placed(examples, spec.seed)
            yield (
                latent,
                questions(method, ordered, windows.pieces, explained.explanations, partners, spec.null_count),
            )

    def combine(self, spec: ScoresSpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        """Adds the denominators of the selection to what the last stage summed up."""
        found: Any = next(part for part in parts if part.name == LATENTS).metadata["statistics"]
        method = METHODS[spec.scorer]
        counts = _denominator_counts(spec, inputs)
        denominators = {name: counts[name] for name in ("total", "dead", "rare")}
        summed: dict[str, Json] = {
            "scorer": method.name,
            "method_version": method.version,
            "model": (spec.embedder if EMBEDDINGS in method.needs else spec.llm).model,
            **denominators,
            **found,
        }
        return Summary(summed, failed_count=found["question_count"] - found["answered_count"])


def _asked(spec: ScoresSpec) -> Counts:
    asked = {RANDOM: spec.inactive_count, NEIGHBOUR: spec.neighbour_count, NEAR: spec.near_count}
    return Counts(spec.active_count, {type_: count for type_, count in asked.items() if count})


def _window_violations(spec: ScoresSpec, kept: KeptWindows) -> Iterator[Violation]:
    yield from kept.length_violations(spec.window_length)
    needed = METHODS[spec.scorer].active_needed(_asked(spec))
    yield from kept.sampled_violations("active_count" if needed <= spec.active_count else "inactive_count", needed)


def _negative_violations(spec: ScoresSpec, latents: InputInfo) -> Iterator[Violation]:
    types = METHODS[spec.scorer].negative_types
    for field, type_ in (("neighbour_count", NEIGHBOUR), ("near_count", NEAR)):
        if getattr(spec, field) and type_ not in types:
            able = ", ".join(name for name, method in METHODS.items() if type_ in method.negative_types)
            yield Violation(field, f"{spec.scorer} makes its own negatives; leave it out, or take one of {able}")
    if spec.stop and METHODS[spec.scorer].form not in (LABELLED, RANKED):
        yield Violation("stop", f"{spec.scorer} has no positives and negatives to stop by; leave it out")
    neighbours: Any = latents.spec.get("neighbours", 0)
    if spec.neighbour_count and not neighbours:
        yield Violation(
            "neighbour_count",
            f"{latents.id} was made without neighbours; expected 0, or give latents made with neighbours: 10",
        )


def _check_explanations(spec: ScoresSpec, explanations: InputInfo) -> None:
    explained = explanations.spec.get("latents_id")
    if explained != spec.latents_id:
        raise InvalidSpec(
            f"{spec.explanations_id} explains {explained}, but latents_id is {spec.latents_id}; give the latents "
            "artifact that was explained",
            field="latents_id",
            reason="LATENTS_MISMATCH",
        )
    needs_labels = not METHODS[spec.scorer].label_free
    if needs_labels and explanations.manifest is not None and not explanations.manifest.statistics.get("parsed"):
        raise InvalidSpec(
            f"{spec.explanations_id} has no explanation to score: "
            f"{_denominators(explanations.manifest.statistics)}; see the outcome and reason columns of its "
            "explanations.parquet",
            field="explanations_id",
            reason="NO_EXPLANATIONS",
        )


def _denominator_counts(spec: ScoresSpec, inputs: Mapping[str, InputInfo]) -> dict[str, int]:
    """Latents of the dictionary and those attempted, by the explanations or, without any, by the latents."""
    if "explanations" in inputs:
        manifest = inputs["explanations"].manifest
        assert manifest is not None
        names = ("total", "dead", "rare", "attempted")
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


def _denominators(statistics: Mapping[str, Json]) -> str:
    return ", ".join(f"{name} {statistics[name]}" for name in ("total", "dead", "rare", "attempted", "parsed"))


def _number(values: Mapping[str, Json], name: str) -> int:
    value: Any = values[name]
    return int(value)
