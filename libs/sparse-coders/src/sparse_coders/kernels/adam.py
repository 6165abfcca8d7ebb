"""Gradients of latents, summed over their tokens and used up by Adam row by row: no gradient outlives its row."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int32

from sparse_coders.kernels.compiled import Real, compiled, inlined
from sparse_coders.kernels.rounding import rounding_norms


class Adam(NamedTuple):
    """One step of Adam (Kingma and Ba, arXiv 1412.6980), without weight decay."""

    rate1: np.float32
    """1 - beta1: share of the gradient in the new first moment."""
    beta2: np.float32
    rate2: np.float32
    """1 - beta2."""
    size: np.float32
    """Learning rate over the first moment's bias correction."""
    correction: np.float32
    """Square root of the second moment's bias correction."""
    eps: np.float32


class Moments(NamedTuple):
    """A parameter with Adam's two moments of its gradient."""

    value: Float32[np.ndarray, "..."]
    mean: Float32[np.ndarray, "..."]
    square: Float32[np.ndarray, "..."]


class Pairs(NamedTuple):
    """What fired, grouped by latent; see `pairs_by_latent`."""

    offsets: Int32[np.ndarray, " ends"]
    places: Int32[np.ndarray, " pairs"]
    k: int
    acts: Float32[np.ndarray, " pairs"]
    d_acts: Float32[np.ndarray, " pairs"]
    scale: np.float32
    """What both are still to be multiplied by."""


class Extra(NamedTuple):
    """Gradients of some latents from elsewhere (AuxK): latent j has row rows[j], none where that is below 0."""

    rows: Int32[np.ndarray, " d_sae"]
    W_enc: Float32[np.ndarray, "n_extra d_model"]
    b_enc: Float32[np.ndarray, " n_extra"]
    W_dec: Float32[np.ndarray, "n_extra d_out"]


@inlined
def _step(adam: Adam, gradient: Real, mean: Real, square: Real) -> tuple[Real, Real, Real]:
    """Returns the new moments and what to subtract from the parameter."""
    mean += adam.rate1 * (gradient - mean)
    square = adam.beta2 * square + adam.rate2 * gradient * gradient
    return mean, square, adam.size * mean / (np.sqrt(square) / adam.correction + adam.eps)


@compiled
def adam_row(
    adam: Adam,
    gradient: Float32[np.ndarray, " width"],
    value: Float32[np.ndarray, " width"],
    mean: Float32[np.ndarray, " width"],
    square: Float32[np.ndarray, " width"],
) -> None:
    """One step of some parameters in place."""
    for c in range(len(gradient)):
        mean[c], square[c], change = _step(adam, gradient[c], mean[c], square[c])
        value[c] -= change


@compiled
def _project(gradient: Float32[np.ndarray, " width"], row: Float32[np.ndarray, " width"]) -> None:
    """Takes from a gradient its part along a row."""
    along = np.float32(0)
    for c in range(len(row)):
        along += gradient[c] * row[c]
    for c in range(len(row)):
        gradient[c] -= along * row[c]


@compiled
def _normalise(row: Float32[np.ndarray, " width"]) -> None:
    square = np.float32(0)
    for c in range(len(row)):
        square += row[c] * row[c]
    norm = np.sqrt(square) + np.float32(2.0**-23)
    for c in range(len(row)):
        row[c] /= norm


@compiled
def _sum_rows(
    rows: Float32[np.ndarray, "n width"],
    places: Int32[np.ndarray, " count"],
    k: int,
    weights: Float32[np.ndarray, " pairs"],
    total: Float32[np.ndarray, " width"],
) -> None:
    """Writes the sum of weights[place] * rows[place // k], four rows at a time so that the sum is read less often."""
    total[:] = 0
    whole = len(places) - len(places) % 4
    for p in range(0, whole, 4):
        a, b, c, d = places[p], places[p + 1], places[p + 2], places[p + 3]
        w_a, w_b, w_c, w_d = weights[a], weights[b], weights[c], weights[d]
        row_a, row_b, row_c, row_d = rows[a // k], rows[b // k], rows[c // k], rows[d // k]
        for i in range(len(total)):
            total[i] += (w_a * row_a[i] + w_b * row_b[i]) + (w_c * row_c[i] + w_d * row_d[i])
    for p in range(whole, len(places)):
        weight, row = weights[places[p]], rows[places[p] // k]
        for i in range(len(total)):
            total[i] += weight * row[i]


@compiled
def _sum_pairs(
    pairs: Pairs,
    latent: int,
    x: Float32[np.ndarray, "n d_model"],
    error: Float32[np.ndarray, "n d_out"],
    d_W_enc: Float32[np.ndarray, " d_model"],
    d_W_dec: Float32[np.ndarray, " d_out"],
) -> Real:
    """Writes the gradients of a latent's rows, summed in the order of tokens; returns that of its bias."""
    places = pairs.places[pairs.offsets[latent] : pairs.offsets[latent + 1]]
    _sum_rows(x, places, pairs.k, pairs.d_acts, d_W_enc)
    _sum_rows(error, places, pairs.k, pairs.acts, d_W_dec)
    d_b_enc = np.float32(0)
    for place in places:
        d_b_enc += pairs.d_acts[place]
    for i in range(len(d_W_enc)):
        d_W_enc[i] *= pairs.scale
    for i in range(len(d_W_dec)):
        d_W_dec[i] *= pairs.scale
    return d_b_enc * pairs.scale


@compiled
def update_latents(
    first: int,
    end: int,
    adam: Adam,
    pairs: Pairs,
    x: Float32[np.ndarray, "n d_model"],
    error: Float32[np.ndarray, "n d_out"],
    extra: Extra,
    unit: bool,
    W_enc: Moments,
    b_enc: Moments,
    W_dec: Moments,
    norms: Float32[np.ndarray, " d_sae"],
    lost: Float32[np.ndarray, " d_sae"],
    through_encoder: Float64[np.ndarray, " d_model"],
) -> None:
    """Sums the gradients of latents first..end-1 and steps their rows.

    Args:
        first: First latent.
        end: After the last.
        adam: The step.
        pairs: What fired.
        x: What the encoder multiplied.
        error: Reconstruction minus target.
        extra: Gradients to add.
        unit: Project W_dec's gradient off its row, and scale rows back to unit norm after.
        W_enc: Stepped.
        b_enc: Stepped.
        W_dec: Stepped.
        norms: Of W_enc's rows, kept up to date.
        lost: Of what rounding to bfloat16 would take from them, likewise.
        through_encoder: Filled with the sum of d b_enc * W_enc over these latents, before the step.
    """
    d_W_enc, d_W_dec = np.empty(x.shape[1], np.float32), np.empty(error.shape[1], np.float32)
    through_encoder[:] = 0
    for j in range(first, end):
        d_b_enc = _sum_pairs(pairs, j, x, error, d_W_enc, d_W_dec)
        row = extra.rows[j]
        if row >= 0:
            d_W_enc += extra.W_enc[row]
            d_W_dec += extra.W_dec[row]
            d_b_enc += extra.b_enc[row]
        if d_b_enc != 0:
            for c in range(len(through_encoder)):
                through_encoder[c] += d_b_enc * W_enc.value[j, c]
        if unit:
            _project(d_W_dec, W_dec.value[j])
        adam_row(adam, d_W_enc, W_enc.value[j], W_enc.mean[j], W_enc.square[j])
        adam_row(adam, d_W_dec, W_dec.value[j], W_dec.mean[j], W_dec.square[j])
        b_enc.mean[j], b_enc.square[j], change = _step(adam, d_b_enc, b_enc.mean[j], b_enc.square[j])
        b_enc.value[j] -= change
        if unit:
            _normalise(W_dec.value[j])
        norms[j], lost[j] = rounding_norms(W_enc.value[j])
