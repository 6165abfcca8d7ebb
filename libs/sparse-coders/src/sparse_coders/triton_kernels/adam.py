"""Gradients of latents, summed over their tokens and used up by Adam row by row: no gradient outlives its row."""

# pyright: basic, reportMissingImports=false, reportIndexIssue=false

from typing import NamedTuple

import triton
import triton.language as tl
from jaxtyping import Float, Int32, Int64
from torch import Tensor


class Step(NamedTuple):
    """One step of Adam (Kingma and Ba, arXiv 1412.6980), without weight decay."""

    rate1: float
    """1 - beta1: share of the gradient in the new first moment."""
    rate2: float
    """1 - beta2."""
    size: float
    """Learning rate over the first moment's bias correction."""
    correction: float
    """Square root of the second moment's bias correction."""


class Moments(NamedTuple):
    """A parameter with Adam's two moments of its gradient."""

    value: Float[Tensor, "..."]
    mean: Float[Tensor, "..."]
    square: Float[Tensor, "..."]


class Fired(NamedTuple):
    """What fired, by latent: latent j owns places[offsets[j]:offsets[j + 1]], place // k being the token."""

    offsets: Int64[Tensor, " ends"]
    places: Int64[Tensor, " pairs"]
    acts: Float[Tensor, "n k"]
    d_acts: Float[Tensor, "n k"]


class Extra(NamedTuple):
    """Gradients of some latents from elsewhere (AuxK): latent j has row rows[j], none where that is below 0."""

    rows: Int32[Tensor, " d_sae"]
    W_enc: Float[Tensor, "n_extra d_model"]
    b_enc: Float[Tensor, " n_extra"]
    W_dec: Float[Tensor, "n_extra d_out"]


@triton.jit
def _stepped(value, mean, square, gradient, rate1, rate2, size, correction):
    mean += rate1 * (gradient - mean)
    square += rate2 * (gradient * gradient - square)
    return value - size * mean / (tl.sqrt(square) / correction + 1e-8), mean, square


@triton.jit
def _step_row(value, mean, square, gradient, at, inside, unit, rate1, rate2, size, correction):
    """Steps one row, with the gradient's part along it left out and the row at unit norm again where `unit` is 1."""
    row = tl.load(value + at, mask=inside, other=0.0)
    if unit:
        gradient -= tl.sum(gradient * row) * row
    m, s = tl.load(mean + at, mask=inside, other=0.0), tl.load(square + at, mask=inside, other=0.0)
    row, m, s = _stepped(row, m, s, gradient, rate1, rate2, size, correction)
    if unit:
        row /= tl.sqrt(tl.sum(tl.where(inside, row * row, 0.0))) + 1.1920929e-7
    tl.store(value + at, row, mask=inside)
    tl.store(mean + at, m, mask=inside)
    tl.store(square + at, s, mask=inside)


@triton.jit
def _sum_bias(offsets, places, d_acts, extra_rows, extra_b_enc, d_b_enc, scale):
    latent = tl.program_id(0).to(tl.int64)
    total = tl.zeros((), tl.float32)
    for pair in range(tl.load(offsets + latent), tl.load(offsets + latent + 1)):
        total += tl.load(d_acts + tl.load(places + pair))
    total *= scale
    extra = tl.load(extra_rows + latent).to(tl.int64)
    if extra >= 0:
        total += tl.load(extra_b_enc + extra)
    tl.store(d_b_enc + latent, total)


@triton.jit
def _update(
    offsets, places, acts, d_acts, k, x, error, extra_rows, extra_W_enc, extra_W_dec,
    W_enc, W_enc_mean, W_enc_square, b_enc, b_enc_mean, b_enc_square, W_dec, W_dec_mean, W_dec_square,
    d_b_enc, d_model, d_out, scale, rate1, rate2, size, correction,
    UNIT: tl.constexpr, READ: tl.constexpr, GIVEN: tl.constexpr,
):  # fmt: skip
    latent = tl.program_id(0).to(tl.int64)
    read, given = tl.arange(0, READ), tl.arange(0, GIVEN)
    in_read, in_given = read < d_model, given < d_out
    d_enc, d_dec = tl.zeros((READ,), tl.float32), tl.zeros((GIVEN,), tl.float32)
    for pair in range(tl.load(offsets + latent), tl.load(offsets + latent + 1)):
        place = tl.load(places + pair)
        token, d_act = place // k, tl.load(d_acts + place)
        d_enc += d_act * tl.load(x + token * d_model + read, mask=in_read, other=0.0)
        d_dec += tl.load(acts + place) * tl.load(error + token * d_out + given, mask=in_given, other=0.0)
    d_enc, d_dec = d_enc * scale, d_dec * scale
    extra = tl.load(extra_rows + latent).to(tl.int64)
    if extra >= 0:
        d_enc += tl.load(extra_W_enc + extra * d_model + read, mask=in_read, other=0.0)
        d_dec += tl.load(extra_W_dec + extra * d_out + given, mask=in_given, other=0.0)
    at = latent * d_model + read
    _step_row(W_enc, W_enc_mean, W_enc_square, d_enc, at, in_read, False, rate1, rate2, size, correction)
    at = latent * d_out + given
    _step_row(W_dec, W_dec_mean, W_dec_square, d_dec, at, in_given, UNIT, rate1, rate2, size, correction)
    m, s = tl.load(b_enc_mean + latent), tl.load(b_enc_square + latent)
    gradient = tl.load(d_b_enc + latent)
    value, m, s = _stepped(tl.load(b_enc + latent), m, s, gradient, rate1, rate2, size, correction)
    tl.store(b_enc + latent, value)
    tl.store(b_enc_mean + latent, m)
    tl.store(b_enc_square + latent, s)


def bias_gradient(fired: Fired, extra: Extra, scale: float) -> Float[Tensor, " d_sae"]:
    """Returns the gradient of b_enc: of each latent the sum of its activations' derivatives, times the scale."""
    d_sae = len(fired.offsets) - 1
    d_b_enc = fired.d_acts.new_empty(d_sae)
    _sum_bias[(d_sae,)](fired.offsets, fired.places, fired.d_acts, extra.rows, extra.b_enc, d_b_enc, scale)
    return d_b_enc


def update_latents(
    fired: Fired,
    x: Float[Tensor, "n d_model"],
    error: Float[Tensor, "n d_out"],
    extra: Extra,
    d_b_enc: Float[Tensor, " d_sae"],
    moments: tuple[Moments, Moments, Moments],
    step: Step,
    scale: float,
    unit: bool,
) -> None:
    """Sums the gradients of all latents in the order of their tokens and steps their rows.

    Args:
        fired: What fired, by latent.
        x: What the encoder multiplied.
        error: Reconstruction minus target.
        extra: Gradients to add.
        d_b_enc: What `bias_gradient` gives.
        moments: Of W_enc, b_enc and W_dec, which are stepped.
        step: The step.
        scale: What sums over tokens are to be multiplied by.
        unit: Project W_dec's gradient off its row, and scale rows back to unit norm after.
    """
    W_enc, b_enc, W_dec = moments
    d_sae, d_model = W_enc.value.shape
    d_out = W_dec.value.shape[1]
    _update[(d_sae,)](
        fired.offsets, fired.places, fired.acts, fired.d_acts, fired.acts.shape[1], x, error,
        extra.rows, extra.W_enc, extra.W_dec, *W_enc, *b_enc, *W_dec, d_b_enc, d_model, d_out, scale, *step,
        UNIT=unit, READ=triton.next_power_of_2(d_model), GIVEN=triton.next_power_of_2(d_out),
    )  # fmt: skip
