"""How the coders' reconstruction got better while they were trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scorer.core.charts import Scale, label, line, nice_step, path, svg
from scorer.core.report_markup import Html
from scorer.core.scorecard_words import number

_WIDTH, _HEIGHT = 560.0, 230.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 96.0, 14.0, 46.0
_POINTS = 240


@dataclass(frozen=True, slots=True)
class Curve:
    """FVU by tokens seen, from a coder's curves.parquet."""

    token_count: Sequence[float]
    fvu: Sequence[float]

    def thinned(self) -> "Curve":
        """Returns at most some hundred points, each the mean of its stretch."""
        size = -(-len(self.fvu) // _POINTS)
        starts = range(0, len(self.fvu), max(1, size))
        return Curve(
            [self.token_count[min(s + size, len(self.fvu)) - 1] for s in starts],
            [_mean(self.fvu[s : s + size]) for s in starts],
        )


def curves(found: Mapping[str, Curve]) -> Html:
    """Draws FVU over tokens, one line a side, named at its end."""
    thin = {side: curve.thinned() for side, curve in found.items()}
    last = max(max(curve.token_count) for curve in thin.values())
    highest = min(1.2, max(max(curve.fvu) for curve in thin.values()))
    across = Scale(0.0, last, _LEFT, _WIDTH - _RIGHT)
    up = Scale(0.0, max(highest, 0.05), _HEIGHT - _BOTTOM, _TOP)
    drawn = [
        path([(across(x), up(y)) for x, y in zip(c.token_count, c.fvu, strict=True)], f"ridge {side}")
        for side, c in thin.items()
    ]
    told = "; ".join(f"{side} ends at {number(c.fvu[-1])}" for side, c in thin.items())
    return svg(_WIDTH, _HEIGHT, f"Training curves of FVU: {told}", _frame(across, up), drawn, _ends(thin, across, up))


def _frame(across: Scale, up: Scale) -> list[Html]:
    pieces: list[Html] = []
    for tick in up.ticks(nice_step(up.high, 6)):
        pieces += [line(across.start, up(tick), across.end, up(tick), "grid")]
        pieces += [label(across.start - 8.0, up(tick) + 4.0, f"{tick:g}", anchor="end")]
    for tick in across.ticks(nice_step(across.high, 4)):
        pieces.append(label(across(tick), up.start + 17.0, _short(tick)))
    pieces.append(line(across.start, up.start, across.end, up.start, "axis"))
    middle = (across.start + across.end) / 2.0
    return [*pieces, label(middle, up.start + 38.0, "tokens seen in training", "axis-name")]


def _ends(thin: Mapping[str, Curve], across: Scale, up: Scale) -> list[Html]:
    ends = sorted((up(curve.fvu[-1]), side) for side, curve in thin.items())
    pieces: list[Html] = []
    lowest = -1e9
    for place, side in ends:
        place = max(place, lowest + 15.0)
        lowest = place
        words = f"{side} {number(thin[side].fvu[-1], 2)}"
        pieces.append(label(across.end + 8.0, place + 4.0, words, f"name {side}", "start"))
    return pieces


def _short(tokens: float) -> str:
    if tokens >= 1e6:
        return f"{tokens / 1e6:g}M"
    return f"{tokens / 1e3:g}k" if tokens >= 1e3 else f"{tokens:g}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
