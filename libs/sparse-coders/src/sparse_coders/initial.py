"""The coder that training starts from."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sparse_coders.errors import InvalidOption
from sparse_coders.form import Form, empty_coder
from sparse_coders.objectives.selection import Encoder
from sparse_coders.sparse_coder import SparseCoder
from sparse_coders.topk_coder import TopKCoder

_MEDIAN_STEPS = 100
_MEDIAN_TOLERANCE = 1e-6
_CALIBRATION_TOKENS = 512
_FIRST_L0_SHARE = 1 / 32
_ROWS = 4096
"""Rows that are normalised at a time."""


@dataclass(frozen=True, slots=True)
class Initialisation:
    """How the weights start."""

    decoder: Literal["tied", "random", "zero"] | None = None
    """Rows of W_dec: the encoder's at unit norm, random ones of unit norm, or 0; None: tied for an autoencoder, and 0
    for a transcoder, which then begins as the mean (sparsify)."""
    b_dec: Literal["mean", "geometric_median", "zero"] = "mean"
    """Of what the coder shall give. The geometric median is not drawn away by a few tokens of great norm."""
    l0: float | None = None
    """JumpReLU: mean number of latents that fire for a token at the start: the target; None: a 32nd of them."""


def initial_coder(d_model: int, d_sae: int, k: int, sample: Float[Tensor, "n d_model"], seed: int) -> TopKCoder:
    """Returns a TopK autoencoder, started as by default.

    Raises:
        InvalidShape: a size is below 1 or k is above d_sae.
    """
    coder = initial_coder_of(Form("topk", d_model, d_sae, d_model, k=k), sample, sample, seed)
    assert isinstance(coder, TopKCoder)
    return coder


@torch.no_grad()
def initial_coder_of(
    form: Form,
    x: Float[Tensor, "n d_model"],
    y: Float[Tensor, "n d_out"],
    seed: int,
    initialisation: Initialisation | None = None,
) -> SparseCoder:
    """Returns a float32 coder on the CPU: the same for the same sample and seed.

    The encoder is Kaiming-uniform as in `nn.Linear`. Its bias is 0, and of a transcoder such that it reads x less its
    mean. W_skip is 0.

    Args:
        form: What it is.
        x: A sample of what it reads.
        y: Of what it shall give, for the same tokens: x for an autoencoder.
        seed: Of the weights.
        initialisation: How they start; None: as by default.

    Raises:
        InvalidShape: sizes that cannot make a coder.
        InvalidOption: a tied decoder for another width out.
    """
    start = initialisation or Initialisation()
    coder = empty_coder(form).to_empty(device="cpu")
    for value in coder.parameters():
        value.zero_()
    generator = torch.Generator().manual_seed(seed)
    bound = 1 / math.sqrt(form.d_model)
    coder.W_enc.uniform_(-bound, bound, generator=generator)
    _start_decoder(coder, start, generator)
    coder.b_dec.copy_(_centre(y.double(), start.b_dec))
    if coder.transcoder:
        reading = -(x.double().mean(0) @ coder.W_enc.double().T)
        for name in {"b_enc", "b_gate", "b_mag"} & set(coder.own_shapes()):
            coder.get_parameter(name).copy_(reading)
    if coder.architecture == "jumprelu":
        _start_thresholds(coder, x.float(), start.l0 or coder.d_sae * _FIRST_L0_SHARE)
    return coder


def _start_decoder(coder: SparseCoder, start: Initialisation, generator: torch.Generator) -> None:
    kind = start.decoder or ("zero" if coder.transcoder else "tied")
    if kind == "tied":
        if coder.d_out != coder.d_model:
            raise InvalidOption(f"a tied decoder is as wide as the encoder, {coder.d_model}, not {coder.d_out}")
        coder.W_dec.copy_(coder.W_enc)
    elif kind == "random":
        coder.W_dec.normal_(generator=generator)
    if kind != "zero":
        normalise_decoder(coder)


def _centre(y: Float[Tensor, "n d_out"], kind: str) -> Float[Tensor, " d_out"]:
    if kind == "zero":
        return torch.zeros_like(y[0])
    return geometric_median(y) if kind == "geometric_median" else y.mean(0)


def geometric_median(rows: Float[Tensor, "n width"]) -> Float[Tensor, " width"]:
    """Returns the point with the least summed distance from all rows: Weiszfeld's iteration, from the mean."""
    point = rows.mean(0)
    for _ in range(_MEDIAN_STEPS):
        weights = 1 / (rows - point).norm(dim=1).clamp_min(torch.finfo(rows.dtype).tiny)
        moved = weights @ rows / weights.sum()
        step, point = (moved - point).norm(), moved
        if step <= _MEDIAN_TOLERANCE * point.norm():
            break
    return point


def _start_thresholds(coder: SparseCoder, x: Float[Tensor, "n d_model"], l0: float) -> None:
    """Sets all thresholds to the activation above which l0 latents of a token fire on average."""
    sample = x[:_CALIBRATION_TOKENS]
    centred = sample if coder.transcoder else sample - coder.b_dec
    encoder = Encoder(coder.W_enc, coder.get_parameter("b_enc"), "none")
    pairs = encoder.strongest_of_all(centred, max(1, round(l0 * len(sample))))
    if len(pairs.acts):
        coder.get_parameter("threshold").fill_(pairs.acts.min())


@torch.no_grad()
def normalise_decoder(coder: SparseCoder) -> None:
    """Scales each row of W_dec to unit norm, in place; a row of 0 stays so."""
    for rows in coder.W_dec.split(_ROWS):
        rows.div_(rows.square().sum(1, keepdim=True).sqrt_() + torch.finfo(coder.dtype).eps)
