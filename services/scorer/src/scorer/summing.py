"""The last stage of a scores job: joins what was judged, scores each latent, sums up."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dragoman.artifacts import PartInfo
from dragoman.errors import UserTaskError
from dragoman.ids import Json
from dragoman.kinds import Context, Part, Progress
from latent_cache import LatentCache

from scorer.core.aggregate import Tally, statistics
from scorer.core.by_type import TYPES_SCHEMA, type_rows, type_statistics
from scorer.core.explained import Explained
from scorer.core.latent_filters import LatentFilters
from scorer.core.latent_score import LATENTS_SCHEMA, Scoring, latent_score
from scorer.core.rivals import label_statistics
from scorer.core.scorers import METHODS
from scorer.core.scorers.method import EFFECTS
from scorer.core.steering import steering_statistics
from scorer.core.stopping import saving
from scorer.counting import OVER_BUDGET, PLANNED, Reach
from scorer.embedding_spend import embedding_statistics
from scorer.spec import ScoresSpec
from scorer.stages import JUDGE, parts_of
from scorer.steered_source import read_steering
from scorer.tables import EXAMPLES, LATENTS, TYPES, ExamplesWriter, by_latent, table_bytes


def tables(spec: ScoresSpec, context: Context, explained: Explained) -> Iterator[Progress | Part]:
    """Writes examples.parquet, latents.parquet and types.parquet in the order of selection; the metadata of latents has
    the statistics.

    Raises UserTaskError when no question could be asked, or too many got no usable answer.
    """
    method = METHODS[spec.scorer]
    how = Scoring(method.form, method.choices, spec.seed, spec.bootstrap_count)
    tally, scores = Tally(method.form), {}
    types: list[dict[str, object]] = []
    of_latent = _known(spec, context, explained)
    path = context.scratch / EXAMPLES
    with ExamplesWriter(path) as writer:
        for part in parts_of(spec, context, JUDGE):
            rows = writer.add(context.own.read(part.name))
            tally.add(rows)
            ends = _ends(part, spec)
            for latent, own in by_latent(rows):
                scores[latent] = latent_score({**of_latent[latent], **ends.get(latent, {})}, own, how)
                types += type_rows(latent, own, how)
                yield Progress(len(scores), len(explained.rows), "latents")
    if tally.question_count or not spec.counts_tokens:
        _check_answers(spec, tally, explained)
    ordered = [scores.get(latent) or latent_score(row, (), how) for latent, row in of_latent.items()]
    summed = statistics(ordered, tally, how, spec.null_count, method.label_free)
    summed |= _further_statistics(spec, ordered, explained) | embedding_statistics(parts_of(spec, context, JUDGE))
    if types:
        summed["by_type"] = type_statistics(types, how)
    yield Part(EXAMPLES, path=path, row_count=writer.row_count)
    yield Part(
        LATENTS,
        data=table_bytes(ordered, LATENTS_SCHEMA),
        row_count=len(ordered),
        metadata={"statistics": summed},
    )
    if types:
        yield Part(TYPES, data=table_bytes(types, TYPES_SCHEMA), row_count=len(types))


def _further_statistics(spec: ScoresSpec, rows: Sequence[Mapping[str, Any]], explained: Explained) -> dict[str, Json]:
    """Those that only some jobs have, and what was not asked."""
    found: dict[str, Json] = {why: sum(row["stopped"] == why for row in rows) for why in (OVER_BUDGET, PLANNED)}
    if spec.stop:
        found["stopping"] = _stopping(rows)
    if EFFECTS in METHODS[spec.scorer].needs:
        found["steering"] = steering_statistics(rows)
    if explained.explanations:
        found["labels"] = label_statistics(explained.explanations)
    return found


def _known(spec: ScoresSpec, context: Context, explained: Explained) -> dict[int, dict[str, Any]]:
    """What is known of each attempted latent, whatever was answered."""
    filters = LatentFilters(LatentCache(context.inputs["latents"]).index)
    found = {latent: {**row, **filters.of(latent)} for row in explained.rows for latent in [int(row["latent"])]}
    reach, free = Reach.of(spec, context, len(found)), METHODS[spec.scorer].label_free
    for place, row in enumerate(found.values()):
        row["stopped"] = reach.unasked(place) if free or row["explanation"] is not None else None
    if "effects" in context.inputs:
        steering = read_steering(context.inputs["effects"], spec.kl_target, found)
        found = {latent: {**row, **steering[latent].columns} for latent, row in found.items()}
    return found


def _ends(part: PartInfo, spec: ScoresSpec) -> dict[int, dict[str, object]]:
    """Why judging of a task's latents stopped, and how many examples there were."""
    stopped: Any = part.metadata["stopped"] if spec.stop else {}
    return {int(latent): {"stopped": why, "n_available": count} for latent, (why, count) in stopped.items()}


def _stopping(rows: Sequence[Mapping[str, Any]]) -> dict[str, Json]:
    judged = [row for row in rows if row["stopped"] not in (None, OVER_BUDGET, PLANNED)]
    asked = [row["n_active"] + row["n_inactive"] for row in judged]
    available = [row["n_available"] for row in judged]
    reasons = Counter(str(row["stopped"]) for row in judged)
    return {
        "example_count": sum(asked),
        "available_count": sum(available),
        "saved_fraction": saving(asked, available),
        "latents_by_reason": dict(sorted(reasons.items())),
    }


def _check_answers(spec: ScoresSpec, tally: Tally, explained: Explained) -> None:
    if not tally.question_count:
        lacking = (
            f"none has enough texts at the KL target in {spec.effects_id}; give effects of these latents, or take "
            "another kl_target"
            if spec.effects_id
            else f"none has enough windows of {spec.window_length} tokens in test documents; use more text or a "
            "shorter window_length"
        )
        raise UserTaskError(
            f"no question could be asked about the {len(explained.rows)} attempted latents: {lacking}",
            reason="NO_WINDOWS",
        )
    if tally.failed_count > spec.max_failed_fraction * tally.question_count:
        outcomes = ", ".join(f"{count} {name}" for name, count in tally.failed.items())
        raise UserTaskError(
            f"{tally.failed_count} of {tally.question_count} questions got no usable answer from {spec.llm.model!r} "
            f"({outcomes}), more than max_failed_fraction ({spec.max_failed_fraction:g}) allows; use another judge or "
            "raise it",
            reason="TOO_MANY_FAILED",
        )
