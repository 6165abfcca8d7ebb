"""A run's curve as a table and as a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sae_trainer.core.chart import line_chart, page
from sae_trainer.core.curve import Point

CURVE_FILE = "curves.parquet"
CURVE_PAGE = "curves.html"
_DRAWN = ("fvu", "l0", "dead_fraction", "loss", "learning_rate")
_INTEGERS = ("step", "token_count")


def write_curve(path: Path, points: Sequence[Point]) -> None:
    """Writes one row a step."""
    columns = {
        name: pa.array([getattr(p, name) for p in points], pa.int64() if name in _INTEGERS else pa.float64())
        for name in Point._fields
    }
    pq.write_table(pa.table(columns), path)


def curve_page(points: Sequence[Point], figures: Mapping[str, object]) -> bytes:
    """Returns a page with a chart of each measure over tokens, below the run's figures."""
    tokens = [point.token_count for point in points]
    charts = [line_chart(name, "tokens", tokens, [getattr(point, name) for point in points]) for name in _DRAWN]
    return page("Training of a coder", charts, figures)
