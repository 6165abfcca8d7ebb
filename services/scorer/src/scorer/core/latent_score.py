"""The scores of one latent, from its judged examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from dragoman.ids import derived_seed

from scorer.core.judgement import ANSWERED, SCORE, SHUFFLED
from scorer.core.latent_filters import FILTER_COLUMNS
from scorer.core.measures import FORMS, METRICS, Answers, Measure
from scorer.core.steering import STEERING_COLUMNS

LATENTS_SCHEMA = pa.schema(
    [
        ("latent", pa.int32()),
        ("rank", pa.int32()),
        ("firing_count", pa.int64()),
        ("density", pa.float64()),
        ("explanation", pa.string()),
        *FILTER_COLUMNS,
        *STEERING_COLUMNS,
        ("n_active", pa.int32()),
        ("n_inactive", pa.int32()),
        ("n_answered", pa.int32()),
        ("n_failed", pa.int32()),
        ("n_available", pa.int32()),
        ("stopped", pa.string()),
        *[
            (column, pa.float64())
            for metric in METRICS
            for column in (metric, f"{metric}_low", f"{metric}_high", f"null_{metric}", f"{metric}_floor")
        ],
        ("floor", pa.float64()),
        ("prompt_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
    ]
)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Scoring:
    """How answers become scores."""

    form: str
    """Which metrics there are: one of FORMS."""
    choices: int
    """Answers to choose from."""
    seed: int
    resample_count: int

    @property
    def measures(self) -> Mapping[str, Measure]:
        """The metrics by name, the headline first."""
        return FORMS[self.form]


def latent_score(explained: Row, rows: Sequence[Row], how: Scoring) -> dict[str, object]:
    """Returns one row of LATENTS_SCHEMA.

    `explained` is the latent's row of explanations.parquet with its FILTER_COLUMNS and, of scorers of steered texts,
    STEERING_COLUMNS; `rows` its rows of examples.parquet (none when it has no explanation or no window could be used).
    Only usable answers count in a score; the others are counted beside it.
    A score is None where what it needs was not answered: a positive and a negative, a trial, a log-probability.
    """
    latent = int(explained["latent"])
    own, null = Answers.of(rows, SCORE), Answers.of(rows, SHUFFLED)
    score_rows = [r for r in rows if r["arm"] == SCORE]
    answered = sum(r["outcome"] == ANSWERED for r in score_rows)
    scores = {name: value for metric in METRICS for name, value in _columns(metric, own, null, latent, how).items()}
    return {
        **{name: explained[name] for name in ("latent", "rank", "firing_count", "density", "explanation")},
        **{name: explained.get(name) for name, _ in (*FILTER_COLUMNS, *STEERING_COLUMNS)},
        "n_active": sum(bool(r["label"]) for r in score_rows),
        "n_inactive": sum(not r["label"] for r in score_rows),
        "n_answered": answered,
        "n_failed": len(score_rows) - answered,
        "n_available": explained.get("n_available", len(score_rows)),
        "stopped": explained.get("stopped"),
        **scores,
        "floor": scores[f"{next(iter(how.measures))}_floor"],
        **{name: sum(r[name] for r in rows) for name in ("prompt_tokens", "cached_tokens", "completion_tokens")},
    }


def _columns(metric: str, own: Answers, null: Answers, latent: int, how: Scoring) -> dict[str, float | None]:
    measure = how.measures.get(metric)
    names = (metric, f"{metric}_low", f"{metric}_high", f"null_{metric}", f"{metric}_floor")
    if measure is None:
        return dict.fromkeys(names)
    value = measure.value(own)
    seed = derived_seed(metric.replace("_", " "), how.seed, latent)
    interval = measure.interval(own, seed, how.resample_count) if value is not None else None
    low, high = (interval.low, interval.high) if interval else (None, None)
    floor = measure.floor(own, how.choices)
    return dict(zip(names, (value, low, high, measure.value(null), floor), strict=True))
