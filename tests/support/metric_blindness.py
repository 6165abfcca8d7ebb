"""Which metric notices a label that is too narrow or too wide (2506.05774): a table over drawn concepts.

A judge follows its label with some noise. `narrow`: half of what activates the latent does not fit the label. `wide`:
as many other windows fit it as those that activate the latent.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scorer.core.correlation import Simulated, pearson
from scorer.core.metrics import auroc, balanced_accuracy
from scorer.core.precision import average_precision, f1

NOTICED = 0.02
"""A metric has noticed a wrong label when it falls by more than this,"""
SHARE = 0.9
"""in more than this share of draws."""
CASES = ("narrow", "wide")

Metric = Callable[[np.ndarray, np.ndarray], float]
"""Of what the judge says (0 to 1) and of which windows activate the latent."""

METRICS: Mapping[str, Metric] = {
    "auroc": lambda said, true: auroc(said[true], said[~true]) or 0.0,
    "balanced_accuracy": lambda said, true: balanced_accuracy(said[true] > 0.5, said[~true] > 0.5) or 0.0,
    "auprc": lambda said, true: average_precision(said[true], said[~true]) or 0.0,
    "f1": lambda said, true: f1(said[true] > 0.5, said[~true] > 0.5) or 0.0,
    "pearson": lambda said, true: pearson([Simulated(said, true.astype(np.float64))]) or 0.0,
}


@dataclass(frozen=True)
class Design:
    """Which windows are judged: `active` that activate the latent, `random` others, and `near` ones, which a label that
    is too wide fits as well."""

    name: str
    active: int
    random: int
    near: int = 0
    share: float = 0.01
    """Of random windows that a label too wide fits."""


DESIGNS = (
    Design("all windows of a corpus", 20, 1980),
    Design("as many random ones", 20, 20),
    Design("as many, half of them near", 20, 10, 10),
)


@dataclass(frozen=True)
class Line:
    """One metric in one design: in which share of draws each wrong label was noticed."""

    design: str
    metric: str
    noticed: Mapping[str, float]

    def blind(self, case: str) -> bool:
        """Whether the metric does not notice this."""
        return self.noticed[case] <= SHARE


def lines(designs: Sequence[Design] = DESIGNS, draws: int = 200) -> list[Line]:
    """Returns the table."""
    found: list[Line] = []
    for number, design in enumerate(designs):
        falls: dict[tuple[str, str], int] = {}
        for draw in range(draws):
            rng = np.random.Generator(np.random.PCG64([number, draw]))
            true, said = _judged(design, rng)
            for name, metric in METRICS.items():
                right = metric(said["right"], true)
                for case in CASES:
                    falls[name, case] = falls.get((name, case), 0) + (right - metric(said[case], true) > NOTICED)
        found += [Line(design.name, name, {case: falls[name, case] / draws for case in CASES}) for name in METRICS]
    return found


def _judged(design: Design, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    count = design.active + design.random + design.near
    true = np.arange(count) < design.active
    near = np.arange(count) >= design.active + design.random
    other = near | (~true & (rng.random(count) < design.share))
    half = rng.permutation(design.active)[: design.active // 2]
    narrow = true.copy()
    narrow[half] = False
    noise = rng.normal(0.0, 0.12, count)
    fits = {"right": true, "narrow": narrow, "wide": true | other}
    return true, {name: np.clip(0.15 + 0.7 * fit + noise, 0.0, 1.0) for name, fit in fits.items()}


def text(found: Sequence[Line]) -> str:
    """Returns the table as text."""
    head = f"{'windows judged':<28}{'metric':<19}{'narrow':>8}{'wide':>8}  blind to"
    rows = [
        f"{line.design:<28}{line.metric:<19}{line.noticed['narrow']:>8.2f}{line.noticed['wide']:>8.2f}  "
        + ", ".join(case for case in CASES if line.blind(case))
        for line in found
    ]
    return "\n".join([head, *map(str.rstrip, rows)])
