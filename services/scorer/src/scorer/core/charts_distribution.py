"""Scores of trained and control latents drawn over each other, with the floor and the shuffled null."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from scorer.core.charts import Scale, diamond, label, line, path, score_scale, svg
from scorer.core.charts_interval import axis
from scorer.core.report_markup import Html, el
from scorer.core.scorecard import CONTROL, MINIMUM_LATENTS, SIDES, TRAINED, MetricCard
from scorer.core.scorecard_words import METRIC_NAMES, full, number

_WIDTH = 520.0
_LEFT, _RIGHT = 76.0, 14.0
_HILL_TOP, _HILL_BOTTOM = 26.0, 146.0
_STRIP = 58.0
_GRID = 201


@dataclass(frozen=True, slots=True)
class ScoredLatent:
    """One point of the drawing."""

    latent: int
    value: float
    target: str | None
    """Id of the latent's card on the page, if it has one."""


def distribution(metric: MetricCard, points: Mapping[str, Sequence[ScoredLatent]], ends: tuple[float, float]) -> Html:
    """Draws smoothed densities over two strips of dots, one dot a latent, on an axis with these `ends`."""
    values = {side: np.asarray([p.value for p in points[side]], np.float64) for side in SIDES}
    scale = score_scale(ends, _LEFT, _WIDTH - _RIGHT)
    bottom = _HILL_BOTTOM + 10.0 + 2.0 * _STRIP
    strips = [
        _strip(side, metric, points[side], _HILL_BOTTOM + 10.0 + i * _STRIP, scale) for i, side in enumerate(SIDES)
    ]
    bands = [_band(metric, side, _HILL_BOTTOM + 10.0 + i * _STRIP, scale) for i, side in enumerate(SIDES)]
    floor = label(scale(metric.floor), _HILL_TOP - 12.0, f"floor {number(metric.floor, 1)}", "floor-name")
    name = METRIC_NAMES[metric.metric]
    told = "; ".join(f"{side} {full(metric.sides[side].score)}" for side in SIDES)
    title = label((scale.start + scale.end) / 2.0, bottom + 34.0, f"{name} of a latent's explanation", "axis-name")
    return svg(
        _WIDTH,
        bottom + 42.0,
        f"Distribution of {name}: {told}",
        bands,
        axis(scale, _HILL_TOP - 4.0, bottom, metric.floor),
        _hills(values, scale),
        strips,
        floor,
        title,
    )


def density(
    values: Float[np.ndarray, " n"], places: Float[np.ndarray, " places"], width: float
) -> Float[np.ndarray, " places"]:
    """Returns a Gaussian kernel density on [0, 1], mirrored at both ends so that none of it is lost beyond them."""
    mirrored = np.concatenate([values, -values, 2.0 - values])
    distances = (places[:, None] - mirrored[None, :]) / width
    return np.exp(-0.5 * distances**2).sum(axis=1) / (values.size * width * math.sqrt(2.0 * math.pi))


def bandwidth(values: Float[np.ndarray, " n"]) -> float:
    """Silverman's rule of thumb, at least 0.02."""
    spread = float(values.std(ddof=1))
    quartiles = float(np.subtract(*np.percentile(values, (75, 25)))) / 1.349
    return max(0.02, 0.9 * min(s for s in (spread, quartiles or spread)) * values.size**-0.2)


def swarm(places: Sequence[float], radius: float, limit: float) -> list[float]:
    """Returns for each place how far from the middle its dot must lie so that dots do not cover each other.

    Beyond `limit` dots do overlap.
    """
    offsets = [0.0] * len(places)
    done: list[tuple[float, float]] = []
    for index in sorted(range(len(places)), key=lambda i: places[i]):
        near = [offset for place, offset in done[-64:] if places[index] - place < 2.0 * radius]
        offsets[index] = next((o for o in _levels(radius, limit) if all(abs(o - n) >= 1.9 * radius for n in near)), 0.0)
        done.append((places[index], offsets[index]))
    return offsets


def _levels(radius: float, limit: float) -> list[float]:
    steps = int(limit // radius)
    return [0.0, *(sign * radius * step for step in range(1, steps + 1) for sign in (-1.0, 1.0))]


def _hills(values: Mapping[str, Float[np.ndarray, " n"]], scale: Scale) -> list[Html]:
    drawn = {side: v for side, v in values.items() if v.size >= MINIMUM_LATENTS}
    if not drawn:
        return []
    places = np.linspace(scale.low, scale.high, _GRID)
    heights = {side: density(v, places, bandwidth(v)) for side, v in drawn.items()}
    top = max(float(h.max()) for h in heights.values())
    up = Scale(0.0, top, _HILL_BOTTOM, _HILL_TOP)
    return [_hill(side, places, heights[side], scale, up) for side in (CONTROL, TRAINED) if side in heights]


def _hill(
    side: str, places: Float[np.ndarray, " places"], heights: Float[np.ndarray, " places"], scale: Scale, up: Scale
) -> Html:
    outline = [(scale(x), up(y)) for x, y in zip(places.tolist(), heights.tolist(), strict=True)]
    area = [(outline[0][0], _HILL_BOTTOM), *outline, (outline[-1][0], _HILL_BOTTOM)]
    return el("g", {}, path(area, f"hill {side}", close=True), path(outline, f"ridge {side}"))


def _band(metric: MetricCard, side: str, top: float, scale: Scale) -> Html | None:
    null = metric.sides[side].shuffled
    if null.low is None or null.high is None:
        return None
    x, width = scale(null.low), max(1.5, scale(null.high) - scale(null.low))
    box = el("rect", {"x": x, "y": top + 4.0, "width": width, "height": _STRIP - 8.0, "rx": 3, "class": "band"})
    return el("g", {}, el("title", {}, f"{side}, shuffled: {full(null)}"), box)


def _strip(side: str, metric: MetricCard, points: Sequence[ScoredLatent], top: float, scale: Scale) -> list[Html]:
    found, middle = metric.sides[side].score, top + _STRIP / 2.0 - 5.0
    radius = 4.5 if len(points) <= 120 else 2.5
    names = [
        label(_LEFT - 14.0, middle + 1.0, side, f"name {side}", "end"),
        label(_LEFT - 14.0, middle + 16.0, f"n = {found.n}", "tick", "end"),
    ]
    offsets = swarm([scale(p.value) for p in points], radius, _STRIP / 2.0 - 12.0)
    dots = [_dot(p, side, scale(p.value), middle + offset, radius) for p, offset in zip(points, offsets, strict=True)]
    return [*names, *dots, *_mean(metric, side, top + _STRIP - 9.0, scale)]


def _dot(point: ScoredLatent, side: str, x: float, y: float, radius: float) -> Html:
    circle = el("circle", {"cx": x, "cy": y, "r": radius, "class": f"point {side}"})
    named = el("g", {}, el("title", {}, f"{side} latent {point.latent}: {number(point.value)}"), circle)
    return named if point.target is None else el("a", {"href": f"#{point.target}"}, named)


def _mean(metric: MetricCard, side: str, y: float, scale: Scale) -> list[Html]:
    found = metric.sides[side].score
    if found.value is None:
        return []
    mark = el("g", {}, el("title", {}, f"mean {full(found)}"), diamond(scale(found.value), y, 5.0, f"dot {side}"))
    if found.low is None or found.high is None:
        return [mark]
    return [line(scale(found.low), y, scale(found.high), y, f"bar {side}"), mark]
