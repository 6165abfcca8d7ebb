"""The scorecard for a terminal: plain text, at most 100 columns."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from scorer.core import scorecard_words as words
from scorer.core.scorecard import SIDES, MetricCard, Questions, ScorerCard
from scorer.core.scorecard_side import Scorecard, SideCard
from scorer.core.scorecard_statistics import Estimate

WIDTH = 100
_LABEL = 24
_COLUMN = 38


def text(card: Scorecard) -> str:
    """Returns the whole scorecard; ends with a newline."""
    return "\n".join(line.rstrip() for line in _lines(card)) + "\n"


def _lines(card: Scorecard) -> Iterator[str]:
    yield "=" * WIDTH
    yield from _wrapped(f"SCORECARD  {_plain(card.title)}" if card.title else "SCORECARD")
    yield "=" * WIDTH
    for scorer in card.scorers.values():
        yield from _wrapped(f"* {words.verdict_title(scorer)}", indent=2)
        yield from _wrapped(f"  {words.verdict_detail(scorer, card.confidence)}", indent=2)
    for scorer in card.scorers.values():
        yield from _scorer(scorer)
    yield from _reconstruction(card)
    yield from _denominators(card)
    yield ""
    yield from _wrapped(
        f"[a, b]: {words.percent(card.confidence)} bootstrap interval over latents ({card.bootstrap_count:,} resamples,"
        f" seed {card.seed}). shuffled: the same windows judged with another latent's explanation, or the null of a "
        "scorer that shows none."
    )
    for note in card.notes:
        yield from _wrapped(f"Note: {_plain(note)}", indent=6)


def _scorer(card: ScorerCard) -> Iterator[str]:
    yield ""
    yield _rule(f"{card.scorer.upper()}, judged by {_plain(card.judge) or 'an unnamed model'}")
    yield _row("", [side.upper() for side in SIDES])
    for metric in card.metrics.values():
        yield from _metric(metric)
        yield ""
    yield from _questions([card.questions[side] for side in SIDES])


def _metric(metric: MetricCard) -> Iterator[str]:
    sides = [metric.sides[side] for side in SIDES]
    name = words.METRIC_NAMES[metric.metric]
    comparison = metric.comparison
    yield _row(name[0].upper() + name[1:], [words.full(s.score) for s in sides])
    yield _row("  floor", [words.number(metric.floor)] * 2)
    yield _row("  shuffled", [words.full(s.shuffled) for s in sides])
    yield _row("  above shuffled", [words.full(s.above_shuffled, sign=True) for s in sides])
    yield _row("  other than shuffled?", [str(s.distinguishable_from_shuffled) for s in sides])
    yield _row("  trained - control", [_difference(metric)])
    yield _row("  other than control?", [str(comparison.distinguishable_from_control)])
    delta = f"Cliff's delta {_effect(comparison.cliffs_delta)}"
    yield _row("  effect size", [f"{delta}, Hedges' g {_effect(comparison.hedges_g)}"])
    yield _row("  test", [words.p_value(comparison.permutation)])


def _difference(metric: MetricCard) -> str:
    found = metric.comparison.difference
    if found.value is None:
        return f"none ({words.sample(metric.comparison)})"
    return f"{words.signed(found.value)} {words.interval(found, sign=True)}, {words.sample(metric.comparison)}"


def _effect(estimate: Estimate) -> str:
    if estimate.value is None:
        return "undefined"
    return f"{words.signed(estimate.value, 2)} {words.interval(estimate, sign=True)}"


def _questions(sides: Sequence[Questions]) -> Iterator[str]:
    yield _row("Questions asked", [words.count(s.asked) for s in sides])
    yield _row("  answered", [words.count(s.answered) for s in sides])
    yield _row("  failed", [_by_outcome(s.failed_by_outcome) for s in sides])
    yield _row("  constant answer gets", [words.number(s.constant_answer_accuracy) for s in sides])
    yield _row("  tokens", [f"{s.prompt_tokens:,} read, {s.cached_tokens:,} cached" for s in sides])


def _reconstruction(card: Scorecard) -> Iterator[str]:
    sides = [card.sides[side].reconstruction for side in SIDES]
    if not any(sides):
        return
    yield ""
    yield _rule("RECONSTRUCTION of held-out activations")
    yield _row("FVU", [words.full(s.fvu) if s else "not given" for s in sides])
    for label, name, digits in (("cosine", "cosine", 3), ("L0", "l0", 1), ("dead fraction", "dead_fraction", 3)):
        yield _row(label, [words.number(getattr(s, name), digits) if s else "not given" for s in sides])
    yield _row("tokens", [words.count(s.token_count) if s else "not given" for s in sides])


def _denominators(card: Scorecard) -> Iterator[str]:
    sides = [card.sides[side] for side in SIDES]
    yield ""
    yield _rule("LATENTS")
    for name in ("total", "dead", "rare", "attempted", "parsed"):
        yield _row(name, [words.count(getattr(side.denominators, name)) for side in sides])
    yield _row("not explained", [_by_outcome(side.denominators.failed_by_outcome) for side in sides])
    for scorer in card.scorers.values():
        yield _row(f"scored by {scorer.scorer}", [words.count(scorer.questions[side].scored) for side in SIDES])
    yield from _subjects(sides)


def _subjects(sides: Sequence[SideCard]) -> Iterator[str]:
    yield _row("weights", [_plain(side.subject.weights) for side in sides])
    subject = sides[0].subject
    place = f"{subject.hookpoint}, {subject.d_sae:,} latents, k = {subject.k}"
    yield from _wrapped(f"{'model':<{_LABEL}}{_plain(subject.model)}, {_plain(place)}", indent=_LABEL)


def _rule(title: str) -> str:
    head = f"-- {title[: WIDTH - 30]} "
    return head + "-" * (WIDTH - len(head))


def _row(label: str, cells: Sequence[str]) -> str:
    if len(cells) == 1:
        return f"{label:<{_LABEL}}{cells[0]}"[:WIDTH]
    return f"{label:<{_LABEL}}" + "".join(f"{cell[: _COLUMN - 1]:<{_COLUMN}}" for cell in cells)


def _by_outcome(failed: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {_plain(outcome)}" for outcome, n in sorted(failed.items()) if n) or "0"


def _plain(value: str) -> str:
    """One line without control characters: names come from outside, and terminals obey escapes."""
    return "".join(c if c.isprintable() else " " for c in value)


def _wrapped(line: str, indent: int = 0) -> list[str]:
    return textwrap.wrap(line, WIDTH, subsequent_indent=" " * indent)
