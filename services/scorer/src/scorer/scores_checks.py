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


def count_violations(spec: ScoresSpec) -> Iterator[Violation]:
    """Yields counts with which not one question, or none of the null, could be asked of any latent."""
    method = METHODS[spec.scorer]
    least, asked = method.least, asked_counts(spec)
    too_few = {
        "active_count": (method.active_needed(asked) < least.active, least.active, ""),
        "inactive_count": (asked.inactive < least.inactive, least.inactive, ""),
        "null_count": (0 < spec.null_count < least.null, least.null, "0, for no null, or "),
    }
    for field, (wrong, wanted, other) in too_few.items():
        if wrong:
            said = f"{spec.scorer} makes no question of {getattr(spec, field)}; expected {other}{wanted} or more"
            yield Violation(field, said)


def window_violations(spec: ScoresSpec, latents: InputInfo) -> Iterator[Violation]:
    """Yields windows that are asked for and not kept. Raises InvalidSpec for latents of an older layout."""
    kept = KeptWindows.of(latents)
    yield from _test_violations(spec, latents)
    yield from kept.length_violations(spec.window_length)
    needed = METHODS[spec.scorer].active_needed(asked_counts(spec))
    yield from kept.sampled_violations("active_count" if needed <= spec.active_count else "inactive_count", needed)


def _test_violations(spec: ScoresSpec, latents: InputInfo) -> Iterator[Violation]:
    """Latents without a window of a test document."""
    if latents.spec.get("split") == "train":
        said = f"{latents.id} has read train documents only, and windows of test documents are scored"
        yield Violation("latents_id", f"{said}; give latents of split all or test")
    elif latents.manifest is not None:
        count = int(str(latents.manifest.statistics["test_token_count"]))
        if count < spec.window_length:
            said = f"{latents.id} has {count} tokens of test documents, and a window takes {spec.window_length}"
            yield Violation("latents_id", f"{said}; give latents of more tokens, or of tokens with a test_fraction")


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
    if METHODS[spec.scorer].label_free or explanations.manifest is None:
        return
    statistics = explanations.manifest.statistics
    # What a scorer of steered texts sets beside a latent are other latents' texts, explained or not.
    needed = 1 if spec.effects_id else 1 + METHODS[spec.scorer].rivals
    if int(str(statistics.get("parsed") or 0)) < needed:
        lacks = (
            "no explanation" if needed == 1 else f"fewer than the {needed} explanations that {spec.scorer} tells apart"
        )
        raise InvalidSpec(
            f"{spec.explanations_id} has {lacks} to score: {_denominators(statistics)}; see the outcome and reason "
            "columns of its explanations.parquet",
            field="explanations_id",
            reason="NO_EXPLANATIONS",
        )


def _denominators(statistics: Mapping[str, Json]) -> str:
    return ", ".join(f"{name} {statistics[name]}" for name in ("total", "dead", "rare", "attempted", "parsed"))
