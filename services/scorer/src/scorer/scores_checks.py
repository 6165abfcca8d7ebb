"""What of a scores spec does not fit its scorer, its latents or its explanations."""

from collections.abc import Iterator, Mapping
from typing import Any

from dragoman.artifacts import InputInfo
from dragoman.errors import InvalidSpec, Violation
from dragoman.ids import Json
from latent_cache import KeptWindows

from scorer.asking import asked_counts
from scorer.core.examples import DECODER, NEAR, NEIGHBOUR
from scorer.core.measures import SIDED
from scorer.core.scorers import METHODS
from scorer.core.scorers.method import EMBEDDINGS, TEXTS
from scorer.spec import ScoresSpec


def window_violations(spec: ScoresSpec, kept: KeptWindows) -> Iterator[Violation]:
    """Yields windows that are asked for and not kept."""
    yield from kept.length_violations(spec.window_length)
    needed = METHODS[spec.scorer].active_needed(asked_counts(spec))
    yield from kept.sampled_violations("active_count" if needed <= spec.active_count else "inactive_count", needed)


def negative_violations(spec: ScoresSpec, latents: InputInfo) -> Iterator[Violation]:
    """Yields negatives and a stopping rule that the scorer does not take, or for which the latents lack something."""
    types = METHODS[spec.scorer].negative_types
    for field, type_ in (("neighbour_count", NEIGHBOUR), ("decoder_count", DECODER), ("near_count", NEAR)):
        if getattr(spec, field) and type_ not in types:
            able = ", ".join(name for name, method in METHODS.items() if type_ in method.negative_types)
            yield Violation(field, f"{spec.scorer} makes its own negatives; leave it out, or take one of {able}")
    if spec.stop and METHODS[spec.scorer].form not in SIDED:
        yield Violation("stop", f"{spec.scorer} has no positives and negatives to stop by; leave it out")
    neighbours: Any = latents.spec.get("neighbours", 0)
    if spec.neighbour_count and not neighbours:
        yield Violation(
            "neighbour_count",
            f"{latents.id} was made without neighbours; expected 0, or give latents made with neighbours: 10",
        )


def budget_violations(spec: ScoresSpec) -> Iterator[Violation]:
    """Yields budgets of a scorer that spends nothing, and a price that nothing has use for."""
    asks_none = METHODS[spec.scorer].needs & {EMBEDDINGS, TEXTS}
    for field in ("token_budget", "cost_budget", "dry_run"):
        if getattr(spec, field) and asks_none:
            yield Violation(field, f"{spec.scorer} asks no language model; leave {field} out")
    yield from spec.price_violations()


def check_explanations(spec: ScoresSpec, explanations: InputInfo) -> None:
    """Raises InvalidSpec for explanations of other latents, or without any that could be scored."""
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


def _denominators(statistics: Mapping[str, Json]) -> str:
    return ", ".join(f"{name} {statistics[name]}" for name in ("total", "dead", "rare", "attempted", "parsed"))
