"""The scorecard as JSON: scorecard.json, and the short form in the manifest."""

from dataclasses import asdict
from typing import Any

from dragoman.ids import Json

from scorer.core.scorecard import MINIMUM_LATENTS, SIDES, ScorerCard
from scorer.core.scorecard_side import Scorecard


def document(card: Scorecard) -> dict[str, Json]:
    """Returns everything, with the rules by which the verdicts were reached."""
    whole: dict[str, Any] = asdict(card)
    whole["notes"] = list(card.notes)
    whole["minimum_latents"] = MINIMUM_LATENTS
    for name, scorer in card.scorers.items():
        for metric, found in scorer.metrics.items():
            out = whole["scorers"][name]["metrics"][metric]
            out["distinguishable_from_control"] = str(found.comparison.distinguishable_from_control)
            out["distinguishable_from_shuffled"] = {
                side: str(found.sides[side].distinguishable_from_shuffled) for side in SIDES
            }
    return whole


def statistics(card: Scorecard) -> dict[str, Json]:
    """Returns the verdicts with the numbers they rest on, for the manifest."""
    return {
        "confidence": card.confidence,
        "scorers": {name: _short(scorer) for name, scorer in card.scorers.items()},
        "denominators": {side: _counts(card, side) for side in SIDES},
        "notes": list(card.notes),
    }


def _short(scorer: ScorerCard) -> dict[str, Json]:
    metric = scorer.verdict
    comparison = metric.comparison
    means: dict[str, Any] = {side: asdict(metric.sides[side].score) for side in SIDES}
    shuffled: dict[str, Any] = {f"{side}_shuffled": asdict(metric.sides[side].shuffled) for side in SIDES}
    return {
        "metric": metric.metric,
        "floor": metric.floor,
        **means,
        **shuffled,
        "difference": asdict(comparison.difference),
        "paired": comparison.paired,
        "cliffs_delta": asdict(comparison.cliffs_delta),
        "hedges_g": asdict(comparison.hedges_g),
        "p_value": comparison.permutation.p_value if comparison.permutation else None,
        "distinguishable_from_control": str(comparison.distinguishable_from_control),
        "distinguishable_from_shuffled": {
            side: str(metric.sides[side].distinguishable_from_shuffled) for side in SIDES
        },
    }


def _counts(card: Scorecard, side: str) -> dict[str, Json]:
    found = card.sides[side].denominators
    names = ("total", "dead", "rare", "attempted", "parsed")
    scored: dict[str, Json] = {name: scorer.questions[side].scored for name, scorer in card.scorers.items()}
    return {**{name: getattr(found, name) for name in names}, "scored": scored}
