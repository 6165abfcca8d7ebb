"""Charts as one HTML page that needs nothing from elsewhere: SVG, no script, light and dark."""

import html
import math
from collections.abc import Mapping, Sequence

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 560, 220, 64, 34, 12, 12
_TICKS = 4
_MOST_POINTS = 600
"""A longer line is thinned: more points than pixels show nothing."""
_STYLE = """
:root { color-scheme: light dark; font: 14px system-ui, sans-serif; }
body { max-width: 1200px; margin: 2rem auto; padding: 0 1rem; }
table { margin: 0 0 1.5rem; border-spacing: 1.5rem 0; margin-left: -1.5rem; }
th { text-align: left; font-weight: normal; opacity: .7; } td { font-variant-numeric: tabular-nums; }
figure { display: inline-block; margin: 0 1rem 1.5rem 0; vertical-align: top; }
svg { width: 560px; max-width: 100%; height: auto; }
line { stroke: currentColor; opacity: .25; } polyline { fill: none; stroke: #2a78d6; stroke-width: 1.5; }
rect { fill: #2a78d6; } text { fill: currentColor; font-size: 11px; }
"""


def page(title: str, charts: Sequence[str], figures: Mapping[str, object] | None = None) -> bytes:
    """Returns a page of charts, below a table of figures: numbers, or pairs of them, by name."""
    name = html.escape(title)
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title><style>{_STYLE}</style>'
    rows = "".join(f"<tr><th>{html.escape(key)}<td>{_text(value)}" for key, value in (figures or {}).items())
    table = f"<table>{rows}</table>" if rows else ""
    return f"{head}<h1>{name}</h1>{table}{''.join(charts)}</html>\n".encode()


def line_chart(title: str, x_label: str, x: Sequence[float], y: Sequence[float]) -> str:
    """Returns a line through points; a point that is not finite is left out."""
    points = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    if not points:
        return _figure(title, "")
    points = points[:: max(1, len(points) // _MOST_POINTS)] + points[-1:]
    low, high = min(b for _, b in points), max(b for _, b in points)
    frame = _Frame((points[0][0], points[-1][0]), (min(low, 0.0) if low < 0.5 * high else low, high))
    line = " ".join(f"{frame.x(a):.1f},{frame.y(b):.1f}" for a, b in points)
    return _figure(title, f'{frame.axes(x_label)}<polyline points="{line}"/>')


def bar_chart(title: str, x_label: str, edges: Sequence[float], counts: Sequence[int]) -> str:
    """Returns bars between edges; there is one edge more than there are counts."""
    frame = _Frame((edges[0], edges[-1]), (0.0, float(max([*counts, 1]))))
    bars = [
        f'<rect x="{frame.x(low) + 0.5:.1f}" y="{frame.y(count):.1f}" width="{frame.x(high) - frame.x(low) - 1:.1f}" '
        f'height="{frame.y(0) - frame.y(count):.1f}"><title>{low:g} to {high:g}: {count:,}</title></rect>'
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
        if count
    ]
    return _figure(title, frame.axes(x_label) + "".join(bars))


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return " to ".join(_text(one) for one in value)  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, float):
        return f"{value:.5g}"
    return "not known" if value is None else html.escape(f"{value:,}" if isinstance(value, int) else str(value))


class _Frame:
    """From numbers to places in the picture."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self._x, self._y = x, y

    def x(self, value: float) -> float:
        low, high = self._x
        return _LEFT + (value - low) / ((high - low) or 1.0) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self._y
        return _HEIGHT - _BOTTOM - (value - low) / ((high - low) or 1.0) * (_HEIGHT - _BOTTOM - _TOP)

    def axes(self, x_label: str) -> str:
        """Returns lines and numbers at equal steps, and the name of what runs to the right."""
        parts: list[str] = []
        for step in range(_TICKS + 1):
            across, up = (low + (high - low) * step / _TICKS for low, high in (self._x, self._y))
            x, y = self.x(across), self.y(up)
            parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{up:.4g}</text>')
            parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 14}" text-anchor="middle">{across:.4g}</text>')
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        label = f'<text x="{middle}" y="{_HEIGHT - 4}" text-anchor="middle">{html.escape(x_label)}</text>'
        return "".join(parts) + label


def _figure(title: str, drawing: str) -> str:
    name = html.escape(title)
    svg = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{name}">{drawing}</svg>'
    return f"<figure><figcaption>{name}</figcaption>{svg}</figure>"
