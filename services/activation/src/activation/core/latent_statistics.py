"""What is counted for each latent when its entries are together."""

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from jaxtyping import Float32, Float64, Int64

from activation.core.entries import TaskEntries

QUANTILES = np.linspace(0.0, 1.0, 11)


@dataclass(frozen=True, slots=True, eq=False)
class LatentStatistics:
    """Per latent, of its activations above 0; zero for a dead one. See docs/data-flow.md, "latents"."""

    firing_count: Int64[np.ndarray, " latents"]
    firing_count_train: Int64[np.ndarray, " latents"]
    firing_count_test: Int64[np.ndarray, " latents"]
    max_activation: Float32[np.ndarray, " latents"]
    mean_activation: Float32[np.ndarray, " latents"]
    mean_square: Float32[np.ndarray, " latents"]
    quantiles: Float32[np.ndarray, "latents 11"]
    token_entropy: Float32[np.ndarray, " latents"]

    @classmethod
    def join(cls, pieces: "list[LatentStatistics]") -> Self:
        """Joins the statistics of consecutive latents."""
        return cls(**{f.name: np.concatenate([getattr(p, f.name) for p in pieces]) for f in fields(cls)})

    def arrays(self) -> dict[str, "np.ndarray[Any, Any]"]:
        """Returns the fields by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def latent_statistics(entries: TaskEntries, train_row_count: int) -> LatentStatistics:
    """Counts entries sorted by latent; rows from `train_row_count` on are of the test split."""
    counts = np.diff(entries.offsets)
    latents = np.repeat(np.arange(len(counts)), counts)
    acts = np.ascontiguousarray(entries.entries[:, 2]).view(np.float32).astype(np.float64)
    train = np.bincount(latents[entries.entries[:, 0] < train_row_count], minlength=len(counts)).astype(np.int64)
    by_size = acts[np.lexsort((acts, latents))]
    return LatentStatistics(
        firing_count=counts.astype(np.int64),
        firing_count_train=train,
        firing_count_test=counts.astype(np.int64) - train,
        max_activation=_segments(np.maximum, acts, entries.offsets).astype(np.float32),
        mean_activation=(_segments(np.add, acts, entries.offsets) / np.maximum(counts, 1)).astype(np.float32),
        mean_square=(_segments(np.add, acts * acts, entries.offsets) / np.maximum(counts, 1)).astype(np.float32),
        quantiles=_quantiles(by_size, entries.offsets).astype(np.float32),
        token_entropy=_token_entropy(latents, entries.entries[:, 3], acts, len(counts)).astype(np.float32),
    )


def _segments(
    operation: np.ufunc, values: Float64[np.ndarray, " n"], offsets: Int64[np.ndarray, " latents_plus_1"]
) -> Float64[np.ndarray, " latents"]:
    """Reduces each segment of `values`; 0 for an empty one."""
    result = np.zeros(len(offsets) - 1)
    alive = np.flatnonzero(np.diff(offsets))
    if len(alive):
        result[alive] = operation.reduceat(values, offsets[alive])
    return result


def _quantiles(
    values: Float64[np.ndarray, " n"], offsets: Int64[np.ndarray, " latents_plus_1"]
) -> Float64[np.ndarray, "latents 11"]:
    """Returns 0 %, 10 %, ... 100 % of each sorted segment, with linear interpolation as `numpy.quantile`."""
    counts = np.diff(offsets)
    if not len(values):
        return np.zeros((len(counts), len(QUANTILES)))
    place = np.maximum(counts - 1, 0)[:, None] * QUANTILES
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(counts - 1, 0)[:, None])
    base = np.minimum(offsets[:-1], len(values) - 1)[:, None]
    at_low, at_high = values[np.minimum(base + low, len(values) - 1)], values[np.minimum(base + high, len(values) - 1)]
    return np.where(counts[:, None] > 0, at_low + (at_high - at_low) * (place - low), 0.0)


def _token_entropy(
    latents: Int64[np.ndarray, " n"], tokens: np.ndarray, acts: Float64[np.ndarray, " n"], latent_count: int
) -> Float64[np.ndarray, " latents"]:
    """Entropy in nats of a latent's activation mass over token ids: H = -sum p ln p, p = w / sum w.

    Heap et al. 2501.17727, section 3, there over the strongest examples; here over every activation.
    """
    if not len(acts):
        return np.zeros(latent_count)
    order = np.lexsort((tokens, latents))
    latents, tokens = latents[order], tokens[order]
    firsts = np.flatnonzero(np.r_[True, (np.diff(latents) != 0) | (np.diff(tokens) != 0)])
    weights = np.add.reduceat(acts[order], firsts)
    owners = latents[firsts]
    totals = np.bincount(owners, weights, latent_count)
    shares = weights / totals[owners]
    # Not -0.0 for a latent of one token.
    return np.maximum(np.bincount(owners, -shares * np.log(shares), latent_count), 0.0)
