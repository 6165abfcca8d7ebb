"""What a model loses when a coder stands in for a hookpoint: numbers from sums over token rows.

CE recovered is (CE_ablated - CE_coder) / (CE_ablated - CE_original), and KL recovered (KL_ablated - KL_coder) /
KL_ablated, where KL is KL(original || arm): 1 when nothing is lost, 0 when the coder is no better than the ablation
(the orientation of SAEBench and SAELens; they ablate with zero only).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

SUMS = (
    "token_count",
    "predicted_count",
    "ce_original",
    "ce_coder",
    "ce_zero",
    "ce_mean",
    "kl_coder",
    "kl_zero",
    "kl_mean",
    "squared_error",
    "squared_distance",
)
"""Totals over a row: of counted tokens, of predicted positions, then over these in nats; the last two over the tokens,
squared distances of the hookpoint's value from the reconstruction and from the mean."""

COUNTS = SUMS[:2]

MEASURES = (
    "ce_original",
    "ce_coder",
    "ce_zero",
    "ce_mean",
    "ce_increase",
    "kl_coder",
    "kl_zero",
    "kl_mean",
    "ce_recovered_zero",
    "ce_recovered_mean",
    "kl_recovered_zero",
    "kl_recovered_mean",
    "fvu",
)

_DENOMINATORS = {
    "ce_recovered_zero": "CE under zero ablation less CE of the original",
    "ce_recovered_mean": "CE under mean ablation less CE of the original",
    "kl_recovered_zero": "KL under zero ablation",
    "kl_recovered_mean": "KL under mean ablation",
    "fvu": "the hookpoint's variance",
}
_SMALLEST = 1e-6
"""Nats; below it a difference of means is rounding of float32 log-probabilities."""
_RESAMPLES = 1000
_LARGEST_BLOCK_COUNT = 1024
"""Rows are resampled in blocks of neighbours, at most so many: memory is bounded, intervals stay what they are."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A number with its 95% interval, percentile bootstrap over blocks of rows; None where it means nothing."""

    value: float | None
    low: float | None
    high: float | None
    note: str = ""
    """Why there is no value, or no interval."""


def block_size(row_count: int) -> int:
    """Returns how many neighbouring rows are resampled together.

    >>> block_size(100), block_size(3000)
    (1, 3)
    """
    return max(1, -(-row_count // _LARGEST_BLOCK_COUNT))


def measures(blocks: Float64[np.ndarray, "blocks sums"], generator: np.random.Generator) -> dict[str, Measure]:
    """Returns the measures of one coder, by name of MEASURES.

    blocks: SUMS of each block of rows; at least one position is predicted.
    """
    # A block that predicts nothing is no sample: all of its numbers are 0 but those of the tokens.
    held = blocks[blocks[:, SUMS.index("predicted_count")] > 0]
    point, parts = _ratios(blocks.sum(0, keepdims=True))
    drawn = drawn_parts = None
    if len(held) > 1:
        counts = generator.multinomial(len(held), np.full(len(held), 1 / len(held)), size=_RESAMPLES)
        drawn, drawn_parts = _ratios(counts.astype(np.float64) @ held)
    return {name: _measure(name, point, parts, drawn, drawn_parts) for name in MEASURES}


_Values = dict[str, Float64[np.ndarray, " samples"]]


def _ratios(samples: Float64[np.ndarray, "samples sums"]) -> tuple[_Values, _Values]:
    """Returns each measure and, of those that are ratios, the denominator; NaN where that is not above rounding."""
    total = {name: samples[:, i] for i, name in enumerate(SUMS)}
    values: _Values = {name: total[name] / total["predicted_count"] for name in SUMS[2:9]}
    values["ce_increase"] = values["ce_coder"] - values["ce_original"]
    numerators: _Values = {"fvu": total["squared_error"]}
    denominators: _Values = {"fvu": total["squared_distance"]}
    for arm in ("zero", "mean"):
        numerators[f"ce_recovered_{arm}"] = values[f"ce_{arm}"] - values["ce_coder"]
        denominators[f"ce_recovered_{arm}"] = values[f"ce_{arm}"] - values["ce_original"]
        numerators[f"kl_recovered_{arm}"] = values[f"kl_{arm}"] - values["kl_coder"]
        denominators[f"kl_recovered_{arm}"] = values[f"kl_{arm}"]
    for name, numerator in numerators.items():
        smallest = 0.0 if name == "fvu" else _SMALLEST
        usable = np.abs(denominators[name]) > smallest
        values[name] = np.divide(numerator, denominators[name], out=np.full(len(samples), np.nan), where=usable)
    return values, denominators


def _measure(name: str, point: _Values, parts: _Values, drawn: _Values | None, drawn_parts: _Values | None) -> Measure:
    value = float(point[name][0])
    if np.isnan(value):
        return Measure(None, None, None, f"{name} is not defined: {_DENOMINATORS[name]} is {parts[name][0]:.2g}")
    if drawn is None or drawn_parts is None:
        return Measure(value, None, None)
    if name in parts:
        low, high = np.quantile(drawn_parts[name], [0.025, 0.975])
        if low <= 0.0 <= high or np.isnan(drawn[name]).any():
            said = f"{_DENOMINATORS[name]} is not distinguishable from 0 ({low:.2g} to {high:.2g})"
            return Measure(value, None, None, f"{name} has no interval and says little: {said}")
    low, high = np.quantile(drawn[name], [0.025, 0.975])
    return Measure(value, float(low), float(high))
