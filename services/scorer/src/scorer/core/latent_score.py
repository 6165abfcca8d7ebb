"""The scores of one latent, from its judged examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from dragoman.ids import derived_seed
from jaxtyping import Bool, Float

from scorer.core.judgement import ANSWERED, SCORE, SHUFFLED
from scorer.core.metrics import (
    FLOOR,
    Interval,
    auroc,
    auroc_interval,
    balanced_accuracy,
    balanced_accuracy_interval,
)

LATENTS_SCHEMA = pa.schema(
    [
        ("latent", pa.int32()),
        ("rank", pa.int32()),
        ("firing_count", pa.int64()),
        ("density", pa.float64()),
        ("explanation", pa.string()),
        ("n_active", pa.int32()),
        ("n_inactive", pa.int32()),
        ("n_answered", pa.int32()),
        ("n_failed", pa.int32()),
        ("auroc", pa.float64()),
        ("auroc_low", pa.float64()),
        ("auroc_high", pa.float64()),
        ("balanced_accuracy", pa.float64()),
        ("balanced_accuracy_low", pa.float64()),
        ("balanced_accuracy_high", pa.float64()),
        ("null_auroc", pa.float64()),
        ("null_balanced_accuracy", pa.float64()),
        ("floor", pa.float64()),
        ("prompt_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
    ]
)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Answers:
    """The usable answers of one arm, by the right answer."""

    yes: Sequence[Row]
    no: Sequence[Row]

    @classmethod
    def of(cls, rows: Sequence[Row], arm: str) -> "_Answers":
        usable = [r for r in rows if r["arm"] == arm and r["outcome"] == ANSWERED]
        return cls([r for r in usable if r["label"]], [r for r in usable if not r["label"]])

    def answers(self) -> tuple[Bool[np.ndarray, " yes"], Bool[np.ndarray, " no"]]:
        return _column(self.yes, "answer", np.bool_), _column(self.no, "answer", np.bool_)

    def probabilities(self) -> tuple[Float[np.ndarray, " yes"], Float[np.ndarray, " no"]]:
        return _column(self.yes, "p_yes", np.float64), _column(self.no, "p_yes", np.float64)


def latent_score(explained: Row, rows: Sequence[Row], seed: int, resample_count: int) -> dict[str, object]:
    """Returns one row of LATENTS_SCHEMA.

    `explained` is the latent's row of explanations.parquet, `rows` its rows of examples.parquet (none when it has no
    explanation or no window could be used). Only usable answers count in a score; the others are counted beside it.
    A score is None where there is no answer to a positive or to a negative, or, for AUROC, no log-probability.
    """
    latent = int(explained["latent"])
    own, null = _Answers.of(rows, SCORE), _Answers.of(rows, SHUFFLED)
    score_rows = [r for r in rows if r["arm"] == SCORE]
    answered = len(own.yes) + len(own.no)
    return {
        **{name: explained[name] for name in ("latent", "rank", "firing_count", "density", "explanation")},
        "n_active": sum(bool(r["label"]) for r in score_rows),
        "n_inactive": sum(not r["label"] for r in score_rows),
        "n_answered": answered,
        "n_failed": len(score_rows) - answered,
        **_interval_columns(
            "auroc",
            auroc(*own.probabilities()),
            auroc_interval(*own.probabilities(), derived_seed("auroc", seed, latent), resample_count),
        ),
        **_interval_columns(
            "balanced_accuracy",
            balanced_accuracy(*own.answers()),
            balanced_accuracy_interval(*own.answers(), derived_seed("balanced accuracy", seed, latent), resample_count),
        ),
        "null_auroc": auroc(*null.probabilities()),
        "null_balanced_accuracy": balanced_accuracy(*null.answers()),
        "floor": FLOOR,
        **{name: sum(r[name] for r in rows) for name in ("prompt_tokens", "cached_tokens", "completion_tokens")},
    }


def _interval_columns(name: str, value: float | None, interval: Interval | None) -> dict[str, object]:
    return {
        name: value,
        f"{name}_low": interval.low if interval else None,
        f"{name}_high": interval.high if interval else None,
    }


def _column(rows: Sequence[Row], name: str, dtype: type[np.generic]) -> "np.ndarray[Any, Any]":
    return np.asarray([r[name] for r in rows if r[name] is not None], dtype)
