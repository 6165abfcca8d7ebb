"""Charts: what is drawn where, and that a page stands alone."""

import math
import re
from xml.etree import ElementTree

from sae_trainer.core.chart import bar_chart, line_chart, page


def drawing(chart: str) -> ElementTree.Element:
    found = ElementTree.fromstring(chart).find("svg")
    assert found is not None
    return found


def points(chart: str) -> list[tuple[float, ...]]:
    (line,) = drawing(chart).findall("polyline")
    return [tuple(float(n) for n in pair.split(",")) for pair in line.attrib["points"].split()]


def test_a_line_falls_where_its_numbers_fall() -> None:
    found = points(line_chart("FVU", "tokens", [0, 50, 100], [1.0, 0.5, 0.25]))
    xs, ys = zip(*found, strict=True)
    assert list(xs) == sorted(xs)
    assert ys[0] < ys[1] < ys[2]  # down is a larger y
    assert xs[1] - xs[0] == xs[2] - xs[1]


def test_long_lines_are_thinned_to_their_last_point_and_gaps_left_out() -> None:
    found = points(line_chart("loss", "tokens", range(100_000), [1 / (n + 1) for n in range(100_000)]))
    assert len(found) < 1300
    assert found[-1][0] == max(x for x, _ in found)
    assert len(points(line_chart("fvu", "tokens", [0, 1, 2], [1.0, math.nan, 0.5]))) == 3  # two, and the last again
    assert drawing(line_chart("nothing", "tokens", [], [])).findall("polyline") == []


def test_bars_are_as_high_as_their_counts() -> None:
    bars = drawing(bar_chart("density", "log10", [-2, -1, 0], [3, 6])).findall("rect")
    low, high = (float(bar.attrib["height"]) for bar in bars)
    assert abs(high - 2 * low) < 0.2
    assert drawing(bar_chart("none", "log10", [-2, -1, 0], [0, 0])).findall("rect") == []


def test_a_page_stands_alone_and_names_are_escaped() -> None:
    text = page("a <b>", [bar_chart("c & d", "x", [0, 1], [1])]).decode()
    assert "a &lt;b&gt;" in text
    assert "c &amp; d" in text
    assert not re.search(r"(src|href)=|<script|url\(", text)


def test_figures_stand_above_the_charts() -> None:
    text = page(
        "a", [], {"fvu": 0.123456789, "fvu_interval": [0.1, 0.25], "n": 12345, "unit": "<rows>", "no": None}
    ).decode()
    cells = ("0.12346", "0.1 to 0.25", "12,345", "&lt;rows&gt;", "not known")
    assert all(f"<td>{cell}" in text for cell in cells)
