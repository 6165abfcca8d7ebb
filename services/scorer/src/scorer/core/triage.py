"""Score, then label: which latents can be explained, and by what, judged without a label (docs/methods.md, Triage)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

INPUT, OUTPUT, CROSS, OBSCURE, UNMEASURED = "input", "output", "cross", "obscure", "unmeasured"
CLASSES = (INPUT, OUTPUT, CROSS, OBSCURE, UNMEASURED)
BY_RULE, BY_WINDOWS, BY_EFFECTS = 0, 1, 2
"""Tiers: labelled without a model; from what makes it fire; from what it makes the model say."""
OUTPUT_SCORE = "output"
"""Name of the output score beside those of scorers."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a score must exceed."""

    value: float
    null_count: int
    error_rate: float
    """How often at most a latent that is like those of the null exceeds it."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a latent before it is labelled."""

    scores: Mapping[str, float | None]
    """By scorer; None where it could not be scored."""
    output: float | None = None
    is_positional: bool = False
    is_unigram: bool = False
    """Confirmed on scrambled text."""
    is_inert: bool = False
    """Does not move the output at any strength."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The class of a latent."""

    name: str
    """One of CLASSES."""
    tier: int | None
    """None: it is not to be labelled."""
    reason: str
    above: Mapping[str, bool | None] = field(default_factory=dict[str, bool | None])
    """By score: whether it is above its null; None where there is none."""


def threshold_of(nulls: Sequence[float], quantile: float) -> Threshold:
    """Returns the order statistic that one more draw from the null exceeds with a chance of at most 1 - `quantile`.

    With n values that is the ceil((n + 1) quantile)-th; where n is too small for it, the largest, and the chance is
    1 / (n + 1).
    """
    ordered = sorted(nulls)
    wanted = math.ceil((len(ordered) + 1) * quantile - 1e-9)
    place = min(wanted, len(ordered))
    return Threshold(ordered[place - 1], len(ordered), 1.0 - place / (len(ordered) + 1))


def each_of(quantile: float, count: int) -> float:
    """Returns the quantile for each of `count` scores, so that all together err as rarely as one would (Bonferroni)."""
    return 1.0 - (1.0 - quantile) / count


def judged(evidence: Evidence, thresholds: Mapping[str, Threshold], output: Threshold | None) -> Judged:
    """Classes one latent. `output`: None where effects were not looked at."""
    scores = {**evidence.scores, **({} if output is None else {OUTPUT_SCORE: evidence.output})}
    limits = {**thresholds, **({} if output is None else {OUTPUT_SCORE: output})}
    above = {name: None if score is None else score > limits[name].value for name, score in scores.items()}
    if output is not None and evidence.is_inert:
        above[OUTPUT_SCORE] = False
    by_rule = evidence.is_positional or evidence.is_unigram
    fires = by_rule or any(above[name] for name in evidence.scores)
    says = bool(above.get(OUTPUT_SCORE))
    reasons = [*_rules(evidence), *_comparisons(scores, limits)]
    name = {(True, False): INPUT, (False, True): OUTPUT, (True, True): CROSS}.get((fires, says))
    if name is None:
        known = any(above[name] is not None for name in evidence.scores) and above.get(OUTPUT_SCORE, False) is not None
        name = OBSCURE if known else UNMEASURED
    return Judged(name, _tier(name, by_rule), "; ".join(reasons), above)


def _tier(name: str, by_rule: bool) -> int | None:
    if name == INPUT:
        return BY_RULE if by_rule else BY_WINDOWS
    return BY_EFFECTS if name in (OUTPUT, CROSS) else None


def _rules(evidence: Evidence) -> list[str]:
    said = {"fires by its position": evidence.is_positional, "fires on its tokens in any text": evidence.is_unigram}
    return [words for words, holds in said.items() if holds]


def _comparisons(scores: Mapping[str, float | None], limits: Mapping[str, Threshold]) -> list[str]:
    said: list[str] = []
    for name, score in scores.items():
        limit = limits[name].value
        word = "above" if score is not None and score > limit else "not above"
        said.append(f"{name} not measured" if score is None else f"{name} {score:.3f} {word} {limit:.3f}")
    return said
