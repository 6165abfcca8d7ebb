"""Scores against each type of negative apart: a mean over a mix of easy and hard ones says little of either."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from dragoman.ids import Json, derived_seed

from scorer.core.judgement import SCORE, SHUFFLED
from scorer.core.latent_score import Scoring
from scorer.core.measures import SIDED, Answers
from scorer.core.metrics import mean_interval

_METRICS = ("auroc", "balanced_accuracy")
TYPES_SCHEMA = pa.schema(
    [
        ("latent", pa.int32()),
        ("type", pa.string()),
        ("n_active", pa.int32()),
        ("n_inactive", pa.int32()),
        *[
            (column, pa.float64())
            for metric in _METRICS
            for column in (metric, f"{metric}_low", f"{metric}_high", f"null_{metric}")
        ],
    ]
)

Row = Mapping[str, Any]


def type_rows(latent: int, rows: Sequence[Row], how: Scoring) -> list[dict[str, object]]:
    """Returns a row of TYPES_SCHEMA for each type of negative of a latent; none where there are no labels."""
    if how.form not in SIDED:
        return []
    types = sorted({str(row["type"]) for row in rows if not row["label"]})
    return [_row(latent, type_, [r for r in rows if r["label"] or r["type"] == type_], how) for type_ in types]


def _row(latent: int, type_: str, rows: Sequence[Row], how: Scoring) -> dict[str, object]:
    own, null = Answers.of(rows, SCORE), Answers.of(rows, SHUFFLED)
    scored = [row for row in rows if row["arm"] == SCORE]
    found: dict[str, object] = {
        "latent": latent, "type": type_,
        "n_active": sum(bool(row["label"]) for row in scored), "n_inactive": sum(not row["label"] for row in scored),
    }  # fmt: skip
    for metric in _METRICS:
        measure = how.measures.get(metric)
        seed = derived_seed(metric, type_, how.seed, latent)
        interval = measure.interval(own, seed, how.resample_count) if measure else None
        found |= {
            metric: measure.value(own) if measure else None,
            f"{metric}_low": interval.low if interval else None,
            f"{metric}_high": interval.high if interval else None,
            f"null_{metric}": measure.value(null) if measure else None,
        }
    return found


def type_statistics(rows: Sequence[Row], how: Scoring) -> dict[str, Json]:
    """Returns the means over latents by type of negative."""
    found: dict[str, Json] = {}
    for type_ in sorted({str(row["type"]) for row in rows}):
        mine = [row for row in rows if row["type"] == type_]
        names = [name for metric in _METRICS for name in (metric, f"null_{metric}")]
        found[type_] = {name: _mean([row[name] for row in mine], type_, name, how) for name in names}
    return found


def _mean(values: Sequence[float | None], type_: str, name: str, how: Scoring) -> dict[str, Json]:
    known = np.asarray([value for value in values if value is not None], np.float64)
    interval = mean_interval(known, derived_seed("latents", name, type_, how.seed), how.resample_count)
    return {
        "mean": float(known.mean()) if known.size else None,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "n": int(known.size),
    }
