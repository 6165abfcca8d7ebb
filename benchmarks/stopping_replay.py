"""Stopping rules replayed on stored answers, over many orders of the examples: tokens spent against ranks kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
from scipy.stats import spearmanr
from scorer.core.metrics import auroc
from scorer.core.stopping import StoppingRule

ORDERS = 100
ERROR_RATE = 0.05
WIDTHS = (0.7, 0.6, 0.5, 0.4, 0.3)
THRESHOLDS = (0.6, 0.7, 0.8)
COUNTS = (4, 6, 8, 10, 12, 16, 20, 24, 30, 40, 60, 100)


@dataclass(frozen=True)
class Collected:
    """Our answers about all windows of a latent, at one length, in the order of its windows."""

    latent: str
    values: Sequence[float]
    """What ranks an example: the share of yes."""
    uncached: Sequence[int]
    prompt: int
    generated: Sequence[int]
    seconds: float


@dataclass(frozen=True)
class Point:
    """One rule at one length: tokens a latent (uncached and generated), and how well latents are ranked."""

    rule: str
    length: int
    examples: float
    tokens: float
    spearman: float
    low: float
    high: float
    with_delphi: float


Rule = int | StoppingRule
"""A fixed number of examples, or when to stop."""


def rules(available: int) -> Mapping[str, Rule]:
    """Returns what is replayed, by name."""
    found: dict[str, Rule] = {f"first {n}": n for n in COUNTS if n < available}
    for batch in (4, 8):
        found |= {f"width {w:g}, every {batch}": StoppingRule(batch, w, None, ERROR_RATE) for w in WIDTHS}
        found |= {f"threshold {t:g}, every {batch}": StoppingRule(batch, None, t, ERROR_RATE) for t in THRESHOLDS}
    return found | {"all": available}


def frontier(ours: Mapping[int, Sequence[Collected]], theirs: Sequence[float]) -> list[Point]:
    """Replays each rule at each length on all orders."""
    full = [score_of(each.values, range(len(each.values))) for each in ours[max(ours)]]
    return [
        _point(name, length, rule, answers, np.asarray(full), np.asarray(theirs))
        for length, answers in ours.items()
        for name, rule in rules(len(answers[0].values)).items()
    ]


def _point(
    name: str, length: int, rule: Rule, answers: Sequence[Collected], full: np.ndarray, theirs: np.ndarray
) -> Point:
    orders = 1 if name == "all" else ORDERS
    asked = [[_asked(each.values, rule, order) for each in answers] for order in range(orders)]
    scores = np.asarray([[score_of(e.values, some) for e, some in zip(answers, row, strict=True)] for row in asked])
    counts = np.asarray([[len(some) for some in row] for row in asked])
    costs = np.asarray([[_tokens(e, some) for e, some in zip(answers, row, strict=True)] for row in asked])
    rng = np.random.default_rng(0)
    resampled = rng.integers(len(answers), size=(200, len(answers)))
    few = scores[:20]
    boot = [float(np.nanmean([_rank(row[i], full[i]) for row in few])) for i in resampled if len(set(i.tolist())) > 2]
    low, high = np.nanpercentile(boot, [2.5, 97.5]) if boot else (np.nan, np.nan)
    spearman = float(np.nanmean([_rank(row, full) for row in scores]))
    with_delphi = float(np.nanmean([_rank(row, theirs) for row in scores]))
    return Point(name, length, counts.mean(), costs.mean(), spearman, float(low), float(high), with_delphi)


def _asked(values: Sequence[float], rule: Rule, order: int) -> Sequence[int]:
    """Returns the places of the examples that a rule asks, positives and negatives in turn; order 0 is that asked."""
    half = len(values) // 2
    rng = np.random.default_rng(order)
    turns = [rng.permutation(half) if order else np.arange(half) for _ in range(2)]
    places = np.stack([2 * turns[0], 2 * turns[1] + 1], axis=1).ravel().tolist()
    if isinstance(rule, int):
        return places[:rule]
    for end in range(rule.batch, len(values), rule.batch):
        yes, no = _sides(values, places[:end])
        if _stops(rule, tuple(sorted(yes)), tuple(sorted(no)), rule.looks(len(values))):
            return places[:end]
    return places


@cache
def _stops(rule: StoppingRule, yes: tuple[float, ...], no: tuple[float, ...], looks: int) -> bool:
    return rule.verdict(np.asarray(yes), np.asarray(no), looks) is not None


def _sides(values: Sequence[float], places: Sequence[int]) -> tuple[list[float], list[float]]:
    return [values[p] for p in places if p % 2 == 0], [values[p] for p in places if p % 2]


def score_of(values: Sequence[float], places: Sequence[int]) -> float:
    """Returns the AUROC of the examples at some places."""
    yes, no = _sides(values, places)
    return cast("float", auroc(np.asarray(yes), np.asarray(no)))


def _tokens(each: Collected, places: Sequence[int]) -> float:
    """The first question of a latent also reads its explanation, whichever example is the first."""
    own = list(each.uncached)
    label = max(0.0, own[0] - float(np.median(own)))
    own[0] -= round(label)
    return label + sum(own[p] + each.generated[p] for p in places)


def _rank(a: np.ndarray, b: np.ndarray) -> float:
    if len(set(a.tolist())) < 2 or len(set(b.tolist())) < 2:
        return float("nan")
    return float(cast("Any", spearmanr(a, b)).statistic)
