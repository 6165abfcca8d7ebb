"""What is said of a side besides its scores: which model, how good the coder is, and out of how many latents."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scorer.core.scorecard import ScorerCard
from scorer.core.scorecard_statistics import Estimate

Statistics = Mapping[str, Any]

_TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens")


@dataclass(frozen=True, slots=True)
class Subject:
    """The model and coder of a side."""

    model: str
    weights: str
    hookpoint: str
    d_sae: int
    k: int


@dataclass(frozen=True, slots=True)
class Denominators:
    """Latents of a side, from all to those explained; the scorers' cards count those scored."""

    total: int
    dead: int
    rare: int
    attempted: int
    parsed: int
    failed_by_outcome: Mapping[str, int]
    explainer: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int

    @classmethod
    def of(cls, statistics: Statistics) -> "Denominators":
        """Takes the statistics of an explanations artifact."""
        counts = {name: int(statistics[name]) for name in ("total", "dead", "rare", "attempted", "parsed")}
        tokens = {name: int(statistics.get(name, 0)) for name in _TOKENS}
        failed = dict(statistics.get("failed_by_outcome") or {})
        return cls(failed_by_outcome=failed, explainer=str(statistics.get("model", "")), **counts, **tokens)


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """How well the coder rebuilds held-out activations."""

    fvu: Estimate
    """1 - explained variance over the whole held-out set; n counts tokens, the interval is over rows."""
    mse: float
    cosine: float
    l0: float
    dead_fraction: float
    dense_fraction: float
    token_count: int
    document_overlap_count: int

    @classmethod
    def of(cls, statistics: Statistics) -> "Reconstruction":
        """Takes the statistics of an evaluation artifact."""
        low, high = _interval(statistics.get("fvu_interval"))
        n = int(statistics["token_count"])
        means = {name: float(statistics[name]) for name in ("mse", "cosine", "l0", "dead_fraction", "dense_fraction")}
        overlap = int(statistics.get("document_overlap_count", 0))
        fvu = Estimate(float(statistics["fvu"]), low, high, n)
        return cls(fvu=fvu, token_count=n, document_overlap_count=overlap, **means)


@dataclass(frozen=True, slots=True)
class SideCard:
    """One side."""

    name: str
    subject: Subject
    denominators: Denominators
    reconstruction: Reconstruction | None


@dataclass(frozen=True, slots=True)
class Scorecard:
    """Everything that the report, the tables and the terminal say in numbers."""

    title: str
    confidence: float
    bootstrap_count: int
    seed: int
    sides: Mapping[str, SideCard]
    scorers: Mapping[str, ScorerCard]
    notes: tuple[str, ...]
    """In which ways, besides the weights, the two sides differ."""


def _interval(value: Any) -> tuple[float | None, float | None]:
    if isinstance(value, Mapping):
        return float(value["low"]), float(value["high"])
    return (float(value[0]), float(value[1])) if value else (None, None)
