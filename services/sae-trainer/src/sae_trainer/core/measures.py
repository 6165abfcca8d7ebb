"""What the sums over a held-out set say of a coder: figures, and how sure they are."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.random import Generator
from scipy.special import ndtr, stdtrit

from sae_trainer.core.held_out import Sums

_DENSE = 0.1
"""A latent that fires for more than this share of the tokens is dense."""
_RESAMPLES = 1000
_ROUNDING = 1e-12
_LEVEL = 0.975
Interval = tuple[float, float]
_Weights = Float[np.ndarray, "samples blocks"]
_Samples = Float[np.ndarray, " samples"]


@dataclass(frozen=True, slots=True)
class Measures:
    """What an evaluation says of a coder. Intervals are 95 %, None with fewer than two blocks."""

    fvu: float
    """Squared error over squared distance from the mean, both over the whole set."""
    fvu_interval: Interval | None
    explained_variance: float
    """1 - fvu."""
    mse: float
    """Squared error, summed over d_model, mean over tokens (SAELens' convention)."""
    mse_interval: Interval | None
    cosine: float
    cosine_interval: Interval | None
    l2_ratio: float
    """Mean of |r| / |y|: below 1 for a coder that shrinks."""
    l2_ratio_interval: Interval | None
    reconstruction_bias: float | None
    """gamma = sum |r|^2 / sum y.r (Rajamanoharan et al. 2404.16014, equation 10); 1 is unbiased, None undefined."""
    reconstruction_bias_interval: Interval | None
    latent_bias: float | None
    """The same of y - b_dec and r - b_dec: of what the latents give, without a mean that hides their shrinkage."""
    latent_bias_interval: Interval | None
    l0: float
    l0_interval: Interval | None
    l1: float
    """Sum of a token's activations, mean over tokens."""
    l1_interval: Interval | None
    dead_fraction: float
    """Share of the latents that fired for no token of the set."""
    dense_fraction: float
    """Share of the latents that fired for more than a tenth of the tokens."""
    token_count: int
    block_count: int
    """Blocks that the intervals resample."""


@dataclass(frozen=True, slots=True)
class BelowFloor:
    """A coder's FVU against the same coder's on Gaussian activations with the same mean and covariance."""

    gaussian_fvu: float
    gaussian_fvu_interval: Interval | None
    below_gaussian: float
    """1 - fvu / gaussian_fvu: above 0 where the coder finds more than mean and covariance."""
    below_gaussian_interval: Interval | None
    gaussian_token_count: int


def measures(sums: Sums, generator: Generator) -> Measures:
    """Returns the measures of a set. Raises ZeroDivisionError when all its activations are equal."""
    weights = _resampled(len(sums.blocks), generator)
    figures: dict[str, float | Interval | None] = {}
    for name, numerator, denominator in (
        ("mse", "error", "tokens"),
        ("cosine", "cosine", "tokens"),
        ("l2_ratio", "norm_ratio", "tokens"),
        ("reconstruction_bias", "output_square", "product"),
        ("latent_bias", "latent_square", "latent_product"),
        ("l0", "fired", "tokens"),
        ("l1", "strength", "tokens"),
    ):
        figures[name] = _finite(float(_ratio(sums, numerator, denominator, _once(sums))[0]))
        figures[f"{name}_interval"] = _interval(_ratio(sums, numerator, denominator, weights), len(sums.blocks))
    fvu, tokens = float(_fvu(sums, _once(sums))[0]), float(sums.tokens.sum())
    return Measures(
        fvu=fvu,
        fvu_interval=_interval(_fvu(sums, weights), len(sums.blocks)),
        explained_variance=1 - fvu,
        dead_fraction=float((sums.firing_count == 0).double().mean()),
        dense_fraction=float((sums.firing_count / tokens > _DENSE).double().mean()),
        token_count=round(tokens),
        block_count=len(sums.blocks),
        **figures,  # pyright: ignore[reportArgumentType]
    )


def below_floor(sums: Sums, floor: Sums, generator: Generator) -> BelowFloor:
    """Returns how far a coder's FVU is below that on Gaussian rows, both resampled for the interval."""
    own, gaussian = _fvu(sums, _once(sums))[0], _fvu(floor, _once(floor))[0]
    weights, floor_weights = (_resampled(len(part.blocks), generator) for part in (sums, floor))
    floor_samples = _fvu(floor, floor_weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        below = 1 - _fvu(sums, weights) / floor_samples
    return BelowFloor(
        gaussian_fvu=float(gaussian),
        gaussian_fvu_interval=_interval(floor_samples, len(floor.blocks)),
        below_gaussian=float(1 - own / gaussian) if gaussian else 0.0,
        below_gaussian_interval=_interval(below, min(len(sums.blocks), len(floor.blocks))),
        gaussian_token_count=round(float(floor.tokens.sum())),
    )


def _once(sums: Sums) -> _Weights:
    return np.ones((1, len(sums.blocks)))


def _resampled(count: int, generator: Generator) -> _Weights:
    """Returns how often each of `count` blocks is drawn, with replacement, in each resample."""
    return generator.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES).astype(np.float64)


def _interval(samples: _Samples, count: int) -> Interval | None:
    """Returns the 95 % interval of resamples of `count` blocks: expanded percentiles (Hesterberg 2015).

    They are moved outwards, so that for normal values the interval is as wide as Student's: plain percentiles of a
    few blocks promise more than they hold.
    """
    if count < 2 or not np.isfinite(samples).all():
        return None
    tail = float(ndtr(-math.sqrt(count / (count - 1)) * stdtrit(count - 1, _LEVEL)))
    low, high = np.quantile(samples, [tail, 1 - tail])
    return float(low), float(high)


def _ratio(sums: Sums, numerator: str, denominator: str, weights: _Weights) -> _Samples:
    """Returns the quotient of two sums for each weighting of the blocks; not finite where it is undefined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (weights @ getattr(sums, numerator).numpy()) / (weights @ getattr(sums, denominator).numpy())


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _fvu(sums: Sums, weights: _Weights) -> _Samples:
    """Returns the FVU of each weighting of the blocks."""
    total = weights @ sums.total.numpy()
    square = weights @ sums.square.numpy()
    variance = square - np.square(total).sum(1) / (weights @ sums.tokens.numpy())
    if not (variance > _ROUNDING * square).all():
        raise ZeroDivisionError("the activations have no variance")
    return (weights @ sums.error.numpy()) / variance
