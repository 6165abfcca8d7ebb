"""The metrics by name: value, interval and floor of each, from the usable answers about one latent."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from scorer.core import fade, metrics, precision
from scorer.core.correlation import Simulated, pearson, pearson_interval
from scorer.core.examples import NATURAL
from scorer.core.forced_choice import concordance, mean_of_trials, trials_interval
from scorer.core.judgement import ANSWERED
from scorer.core.metrics import FLOOR, Interval

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The usable answers of one arm about one latent."""

    yes: Float[np.ndarray, " yes"]
    """What ranks the positives, where the engine told it."""
    no: Float[np.ndarray, " no"]
    said_of_yes: Bool[np.ndarray, " said_yes"]
    said_of_no: Bool[np.ndarray, " said_no"]
    shares: Sequence[Float[np.ndarray, " choices"]]
    places: Sequence[int]
    windows: Sequence[Simulated]
    rated_yes: Float[np.ndarray, " rated_yes"]
    """The strongest activation of each example that was answered yes."""
    rated_no: Float[np.ndarray, " rated_no"]
    natural: Float[np.ndarray, " natural"]
    """What ranks natural windows, where they stand against written texts."""

    @classmethod
    def of(cls, rows: Sequence[Row], arm: str) -> "Answers":
        """Takes rows of examples.parquet."""
        usable = [r for r in rows if r["arm"] == arm and r["outcome"] == ANSWERED]
        yes, no = [r for r in usable if r["label"]], [r for r in usable if not r["label"]]
        trials = [r for r in usable if r["shares"] is not None]
        return cls(
            _column(yes, "value", np.float64), _column(no, "value", np.float64),
            _column(yes, "answer", np.bool_), _column(no, "answer", np.bool_),
            [np.asarray(r["shares"], np.float64) for r in trials], [int(r["place"]) for r in trials],
            [_simulated(r) for r in usable if r["predicted"] is not None],
            _peaks(usable, answer=True), _peaks(usable, answer=False),
            _column([r for r in no if r["type"] == NATURAL], "value", np.float64),
        )  # fmt: skip

    @property
    def concordances(self) -> Float[np.ndarray, " trials"]:
        """How the right choice ranks among the others, in each trial."""
        pairs = zip(self.shares, self.places, strict=True)
        return np.asarray([concordance(shares, place) for shares, place in pairs], np.float64)


@dataclass(frozen=True, slots=True)
class Measure:
    """One metric."""

    value: Callable[[Answers], float | None]
    interval: Callable[[Answers, int, int], Interval | None]
    """Takes the answers, a seed and the number of resamples."""
    floor: Callable[[Answers, int], float | None]
    """What a judge gets that always answers alike; takes the answers and the number of choices."""


_LABELLED: Mapping[str, Measure] = {
    "auroc": Measure(
        lambda a: metrics.auroc(a.yes, a.no),
        lambda a, seed, n: metrics.auroc_interval(a.yes, a.no, seed, n),
        lambda _, __: FLOOR,
    ),
    "balanced_accuracy": Measure(
        lambda a: metrics.balanced_accuracy(a.said_of_yes, a.said_of_no),
        lambda a, seed, n: metrics.balanced_accuracy_interval(a.said_of_yes, a.said_of_no, seed, n),
        lambda _, __: FLOOR,
    ),
    "auprc": Measure(
        lambda a: precision.average_precision(a.yes, a.no),
        lambda a, seed, n: precision.average_precision_interval(a.yes, a.no, seed, n),
        lambda a, _: precision.average_precision_floor(a.yes.size, a.no.size),
    ),
    "f1": Measure(
        lambda a: precision.f1(a.said_of_yes, a.said_of_no),
        lambda a, seed, n: precision.f1_interval(a.said_of_yes, a.said_of_no, seed, n),
        lambda a, _: precision.f1_floor(a.said_of_yes.size, a.said_of_no.size),
    ),
}
_TRIALS: Mapping[str, Measure] = {
    "accuracy": Measure(
        lambda a: mean_of_trials(a.said_of_yes),
        lambda a, seed, n: trials_interval(a.said_of_yes, seed, n),
        lambda _, choices: 1.0 / choices,
    ),
    "auroc": Measure(
        lambda a: mean_of_trials(a.concordances),
        lambda a, seed, n: trials_interval(a.concordances, seed, n),
        lambda _, __: FLOOR,
    ),
}
_SIMULATED: Mapping[str, Measure] = {
    "pearson": Measure(
        lambda a: pearson(a.windows),
        lambda a, seed, n: pearson_interval(a.windows, seed, n),
        lambda _, __: 0.0,
    ),
}
_RATED: Mapping[str, Measure] = {
    **_LABELLED,
    "responsiveness": Measure(
        lambda a: fade.responsiveness(a.rated_yes, a.rated_no),
        lambda a, seed, n: fade.separation_interval(a.rated_yes, a.rated_no, seed, n),
        lambda _, __: 0.0,
    ),
    "purity": Measure(
        lambda a: fade.purity(a.rated_yes, a.rated_no),
        lambda a, seed, n: precision.average_precision_interval(a.rated_yes, a.rated_no, seed, n),
        lambda a, _: fade.purity_floor(a.rated_yes.size, a.rated_no.size),
    ),
}
_FAITHFUL: Mapping[str, Measure] = {
    "faithfulness": Measure(
        lambda a: fade.faithfulness(a.said_of_yes, a.said_of_no),
        lambda a, seed, n: fade.faithfulness_interval(a.said_of_yes, a.said_of_no, seed, n),
        lambda _, __: 0.0,
    ),
    **_LABELLED,
}
_FIRING: Mapping[str, Measure] = {
    "clarity": Measure(
        lambda a: fade.separation(a.yes, a.natural),
        lambda a, seed, n: fade.separation_interval(a.yes, a.natural, seed, n),
        lambda _, __: 0.0,
    ),
    "firing_share": Measure(
        lambda a: mean_of_trials(a.said_of_yes),
        lambda a, seed, n: trials_interval(a.said_of_yes, seed, n),
        lambda a, _: mean_of_trials(a.said_of_no),
    ),
    **_LABELLED,
}
_CHANGE: Mapping[str, Measure] = {
    "log_prob_change": Measure(
        lambda a: mean_of_trials(a.yes),
        lambda a, seed, n: trials_interval(a.yes, seed, n),
        lambda _, __: 0.0,
    ),
}
_RANKED: Mapping[str, Measure] = {name: _LABELLED[name] for name in ("auroc", "auprc")}
LABELLED, RATED, FAITHFUL, RANKED = "labelled", "rated", "faithful", "ranked"
TRIALS, SIMULATED, CHANGE, FIRING = "trials", "simulated", "change", "firing"
FORMS: Mapping[str, Mapping[str, Measure]] = {
    LABELLED: _LABELLED, RATED: _RATED, FAITHFUL: _FAITHFUL, RANKED: _RANKED,
    TRIALS: _TRIALS, SIMULATED: _SIMULATED, CHANGE: _CHANGE, FIRING: _FIRING,
}  # fmt: skip
"""Metrics by the form of a scorer's questions, the one that verdicts are about first."""
YES_OR_NO = frozenset({LABELLED, RATED, FAITHFUL, FIRING})
"""Forms of which each question is answered yes or no."""
SIDED = YES_OR_NO | {RANKED}
"""Forms with positives and negatives."""
METRICS = (
    "auroc", "accuracy", "pearson", "balanced_accuracy", "auprc", "f1", "responsiveness", "purity", "faithfulness",
    "log_prob_change", "clarity", "firing_share",
)  # fmt: skip
"""All metrics, in the order of the tables' columns."""


def _simulated(row: Row) -> Simulated:
    return Simulated(np.asarray(row["predicted"], np.float64), np.asarray(row["activations"], np.float64))


def _column(rows: Sequence[Row], name: str, dtype: type[np.generic]) -> "np.ndarray[Any, Any]":
    return np.asarray([r[name] for r in rows if r[name] is not None], dtype)


def _peaks(rows: Sequence[Row], answer: bool) -> Float[np.ndarray, " rows"]:
    return np.asarray([max(r["activations"]) for r in rows if r["answer"] is answer], np.float64)
