"""What all charts share: scales, ticks, text in SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scorer.core.report_markup import Child, Html, el


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight map from data to SVG units."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Returns the place of a value, inside the scale's ends."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, step: float) -> list[float]:
        """Returns the multiples of a step inside the scale."""
        first = math.ceil(self.low / step - 1e-9)
        return [round(i * step, 10) for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def svg(width: float, height: float, label: str, *children: Child, kind: str = "chart") -> Html:
    """Returns a drawing with a name for those who do not see it."""
    box = {"viewBox": f"0 0 {width:g} {height:g}", "width": width, "height": height, "class": kind, "role": "img"}
    return el("svg", {**box, "aria-label": label}, *children)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Html:
    """A stroke."""
    return el("line", {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "class": kind})


def label(x: float, y: float, words: str, kind: str = "tick", anchor: str = "middle") -> Html:
    """A piece of text."""
    return el("text", {"x": x, "y": y, "class": kind, "text-anchor": anchor}, words)


def diamond(x: float, y: float, radius: float, kind: str) -> Html:
    """The mark of a mean."""
    points = f"{x:.2f},{y - radius:.2f} {x + radius:.2f},{y:.2f} {x:.2f},{y + radius:.2f} {x - radius:.2f},{y:.2f}"
    return el("polygon", {"points": points, "class": kind})


def path(points: Sequence[tuple[float, float]], kind: str, close: bool = False) -> Html:
    """A line through points."""
    d = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + ("Z" if close else "")
    return el("path", {"d": d, "class": kind})


def score_scale(ends: tuple[float, float], start: float, end: float) -> Scale:
    """A scale for scores that reaches both ends, in tenths."""
    low, high = math.floor(ends[0] * 10.0) / 10.0, math.ceil(ends[1] * 10.0) / 10.0
    return Scale(low, max(high, low + 0.1), start, end)


def nice_step(span: float, count: int) -> float:
    """Returns a step of 1, 2 or 5 times a power of ten that cuts the span into about `count` pieces."""
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    return next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= raw * 0.999)
