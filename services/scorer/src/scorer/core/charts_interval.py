"""Intervals: the means of a scorer side by side, and the small plot of one latent."""

from collections.abc import Sequence

from scorer.core.charts import Scale, diamond, label, line, nice_step, score_scale, svg
from scorer.core.report_markup import Html, el
from scorer.core.scorecard import CONTROL, TRAINED, MetricCard
from scorer.core.scorecard_statistics import Estimate
from scorer.core.scorecard_words import full, number

_ROW = 26.0
_WIDTH = 460.0
_LEFT = 132.0


def means(metric: MetricCard, ends: tuple[float, float]) -> Html:
    """Draws the means of both sides and of their shuffled nulls, with intervals, on an axis with these `ends`."""
    rows = [
        ("trained", TRAINED, metric.sides[TRAINED].score),
        ("control", CONTROL, metric.sides[CONTROL].score),
        ("trained, shuffled", f"{TRAINED} null", metric.sides[TRAINED].shuffled),
        ("control, shuffled", f"{CONTROL} null", metric.sides[CONTROL].shuffled),
    ]
    scale = score_scale(ends, _LEFT, _WIDTH - 16.0)
    bottom = 14.0 + _ROW * len(rows)
    drawn = [_row(14.0 + _ROW * (i + 0.5), words, kind, e, scale) for i, (words, kind, e) in enumerate(rows)]
    told = "; ".join(f"{words} {full(e)}" for words, _, e in rows)
    return svg(_WIDTH, bottom + 24.0, f"Means: {told}", axis(scale, 8.0, bottom, metric.floor), drawn)


def axis(scale: Scale, top: float, bottom: float, floor: float) -> list[Html]:
    """Draws a score axis at the bottom with the floor as a dashed line."""
    span = scale.high - scale.low
    step = 0.1 if span <= 2.0 else nice_step(span, 8)
    ticks = [
        [line(scale(t), top, scale(t), bottom, "grid"), label(scale(t), bottom + 15.0, number(t, 1))]
        for t in scale.ticks(step)
    ]
    edge = line(scale.start, bottom, scale.end, bottom, "axis")
    return [*(piece for pair in ticks for piece in pair), edge, line(scale(floor), top, scale(floor), bottom, "floor")]


def small(
    value: float | None, low: float | None, high: float | None, null: float | None, side: str, floor: float | None
) -> Html:
    """Draws one latent's score with its interval, its shuffled score as a ring, and the floor."""
    known = [v for v in (value, low, high, null) if v is not None]
    scale = Scale(min([0.0, *known]), max([1.0, *known]), 5.0, 155.0)
    told = full(Estimate(value, low, high, 1)).removesuffix(" n=1")
    pieces: list[Html] = [line(5.0, 9.0, 155.0, 9.0, "axis")]
    if floor is not None:
        pieces.append(line(scale(floor), 2.0, scale(floor), 16.0, "floor"))
    if null is not None:
        pieces.append(el("circle", {"cx": scale(null), "cy": 9.0, "r": 3.5, "class": "ring"}))
    if low is not None and high is not None:
        pieces.append(line(scale(low), 9.0, scale(high), 9.0, f"bar {side}"))
    if value is not None:
        pieces.append(el("circle", {"cx": scale(value), "cy": 9.0, "r": 4.0, "class": f"dot {side}"}))
    return svg(160.0, 18.0, f"{told}, shuffled {number(null)}", pieces, kind="chart small")


def _row(y: float, words: str, kind: str, found: Estimate, scale: Scale) -> list[Html]:
    pieces: Sequence[Html] = [label(_LEFT - 12.0, y + 4.0, words, f"name {kind}", "end")]
    if found.low is not None and found.high is not None:
        pieces = [*pieces, line(scale(found.low), y, scale(found.high), y, f"bar {kind}")]
    if found.value is None:
        return [*pieces, label(_LEFT + 4.0, y + 4.0, "none", "tick", "start")]
    return [*pieces, el("g", {}, el("title", {}, full(found)), diamond(scale(found.value), y, 5.5, f"dot {kind}"))]
