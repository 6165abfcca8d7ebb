"""The job kind `scorecard`: a trained run against its control."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dragoman.artifacts import InputInfo, PartInfo
from dragoman.errors import InvalidSpec, UserTaskError
from dragoman.kinds import Checkpoint, Context, Part, Progress, Stage, Summary

from scorer import scorecard_reading as reading
from scorer.core import scorecard_notes as notes
from scorer.core.report import html
from scorer.core.report_content import Report
from scorer.core.scorecard import CONTROL, SIDES, TRAINED, ScorerCard, Scores, scorer_card
from scorer.core.scorecard_document import document, statistics
from scorer.core.scorecard_side import Scorecard
from scorer.core.scorecard_statistics import Resampling
from scorer.core.scorecard_tables import latents_table, parquet_bytes, summary_table
from scorer.core.scorecard_text import text
from scorer.scorecard_checks import Artifacts, roles, violations
from scorer.scorecard_spec import ScorecardSpec

_DOCUMENT = "scorecard.json"

Sides = Mapping[str, reading.SideInputs]
Steps = Iterator[Progress | Part | Checkpoint]


class ScorecardKind:
    """Compares scores, one task."""

    name = "scorecard"
    version = 1
    description = "Compares a trained run with its control: verdicts with intervals and nulls, tables, an HTML report."
    spec = ScorecardSpec
    input_kinds: Mapping[str, str] = {
        "trained.scores": "scores",
        "trained.explanations": "explanations",
        "trained.evaluation": "evaluation",
        "control.scores": "scores",
        "control.explanations": "explanations",
        "control.evaluation": "evaluation",
    }

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    def inputs(self, spec: ScorecardSpec) -> Mapping[str, str]:
        return roles(spec)

    def resolve(self, spec: ScorecardSpec) -> ScorecardSpec:
        return spec

    def check(self, spec: ScorecardSpec, inputs: Mapping[str, InputInfo]) -> None:
        found = list(violations(spec, inputs, self._artifacts))
        if found:
            raise InvalidSpec(found)

    def plan(self, spec: ScorecardSpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        return [Stage("compare", [{}])]

    def run(self, spec: ScorecardSpec, context: Context) -> Steps:
        sides = {side: reading.SideInputs.of(side, context.inputs, self._artifacts) for side in SIDES}
        names = list(sides[TRAINED].scores)
        steps = len(names) + 2
        yield Progress(0, steps, "steps", "reading scores")
        scores = {name: {side: _scores(sides[side], name) for side in SIDES} for name in names}
        cards: dict[str, ScorerCard] = {}
        how = Resampling(spec.confidence, spec.bootstrap_count, spec.seed)
        for done, name in enumerate(names):
            yield Progress(done, steps, "steps", f"comparing {name}")
            cards[name] = scorer_card(scores[name][TRAINED], scores[name][CONTROL], how)
        card = _scorecard(spec, sides, cards)
        yield Progress(len(names), steps, "steps", "writing tables")
        yield from _tables(card, scores)
        yield Progress(len(names) + 1, steps, "steps", "writing the report", _headlines(card))
        yield Part("report.html", data=html(self._report(context, sides, card, scores)).encode())

    def _report(
        self, context: Context, sides: Sides, card: Scorecard, scores: Mapping[str, Mapping[str, Scores]]
    ) -> Report:
        shown = {side: sides[side].latent_views() for side in SIDES}
        views = [view for side in SIDES for view in shown[side][0]]
        views.sort(key=lambda view: (view.rank, SIDES.index(view.side), view.latent))
        curves = {side: sides[side].curve(self._artifacts) for side in SIDES}
        manifests = reading.ancestors(context.inputs, self._artifacts)
        return Report(
            card=card,
            points={
                name: {side: reading.points(found[side], card.scorers[name].headline, side, views) for side in SIDES}
                for name, found in scores.items()
            },
            latents=views,
            latent_count=sum(attempted for _, attempted in shown.values()),
            curves={side: curve for side, curve in curves.items() if curve is not None},
            ancestors=list(reading.lineage(context.inputs, manifests)),
            software=reading.software(manifests),
        )

    def combine(self, spec: ScorecardSpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        found: Any = next(part for part in parts if part.name == _DOCUMENT).metadata["statistics"]
        return Summary(found)


def _headlines(card: Scorecard) -> Mapping[str, float]:
    """The mean of each scorer's headline metric by side, for whoever watches the suite over time."""
    found: dict[str, float] = {}
    for name, scorer in card.scorers.items():
        for side, shown in scorer.verdict.sides.items():
            if shown.score.value is not None:
                found[f"{name}_{scorer.headline}_{side}"] = shown.score.value
    return found


def _scores(side: reading.SideInputs, scorer: str) -> Scores:
    found = side.scored(scorer)
    if not found.latents.num_rows:
        raise UserTaskError(
            f"{side.scores[scorer].id} has no latent in its latents.parquet; score at least one latent on each side",
            reason="NO_SCORES",
        )
    return found


def _scorecard(spec: ScorecardSpec, sides: Sides, cards: Mapping[str, ScorerCard]) -> Scorecard:
    return Scorecard(
        title=spec.title,
        confidence=spec.confidence,
        bootstrap_count=spec.bootstrap_count,
        seed=spec.seed,
        sides={side: sides[side].card() for side in SIDES},
        scorers=cards,
        notes=tuple(_notes(sides)),
    )


def _notes(sides: Sides) -> Iterator[str]:
    ours, theirs = sides[TRAINED], sides[CONTROL]
    yield from notes.differences("The models", ours.model, theirs.model)
    yield from notes.differences("The latents", ours.latents.spec, theirs.latents.spec)
    yield from notes.differences("The explanations", ours.explanations.manifest.spec, theirs.explanations.manifest.spec)
    for scorer, artifact in ours.scores.items():
        spec = theirs.scores[scorer].manifest.spec
        yield from notes.differences(f"The questions of {scorer}", artifact.manifest.spec, spec)
    for name, side in sides.items():
        for artifact in side.scores.values():
            yield from notes.of_scores(name, artifact.manifest.statistics)
        if side.evaluation is not None:
            yield from notes.overlap(name, side.evaluation.manifest.statistics)


def _tables(card: Scorecard, scores: Mapping[str, Mapping[str, Scores]]) -> Iterator[Part]:
    whole = json.dumps(document(card), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    yield Part(_DOCUMENT, data=whole.encode(), metadata={"statistics": statistics(card)})
    yield Part("scorecard.txt", data=text(card).encode())
    summary = summary_table(card)
    yield Part("summary.parquet", data=parquet_bytes(summary), row_count=summary.num_rows)
    latents = latents_table({side: [(name, found[side].latents) for name, found in scores.items()] for side in SIDES})
    yield Part("latents.parquet", data=parquet_bytes(latents), row_count=latents.num_rows)
