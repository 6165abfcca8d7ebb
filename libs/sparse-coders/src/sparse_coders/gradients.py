"""The gradient of a TopK coder's loss, written out: the encoder's forward pass is the only dense product.

With x' = x - b_dec, acts = topk(relu(x' W_enc^T + b_enc)), e = decode(acts) - x and V the batch's total variance,
the loss is |e|^2 / V (the fraction of variance unexplained) and g = 2 e / V its derivative by the reconstruction:

    d act_ij  = g_i . W_dec[j]             where act_ij > 0, else 0
    d W_dec_j = sum_i act_ij g_i           d W_enc_j = sum_i d act_ij x'_i
    d b_enc_j = sum_i d act_ij             d b_dec   = sum_i g_i - W_enc^T d b_enc

A selected latent whose activation is 0 takes no part, as in the dense formula.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from sparse_coders.auxk import AuxK, auxk_loss
from sparse_coders.grouping import dot_selected, sum_by_latent, tokens_by_latent
from sparse_coders.topk_coder import TopKCoder


class Gradients(NamedTuple):
    """Derivatives of the loss by each parameter."""

    W_enc: Float[Tensor, "d_sae d_model"]
    b_enc: Float[Tensor, " d_sae"]
    W_dec: Float[Tensor, "d_sae d_model"]
    b_dec: Float[Tensor, " d_model"]


class Losses(NamedTuple):
    """What a batch was worth, as scalars on the coder's device."""

    fvu: Float[Tensor, ""]
    """Squared error over the batch's squared distance from its mean."""
    auxk: Float[Tensor, ""]
    """Auxiliary loss before its weight, 0 when no latent is dead."""
    l0: Float[Tensor, ""]
    """Mean number of latents that fired for a token."""


class Backward(NamedTuple):
    """All that one pass over a batch gives."""

    gradients: Gradients
    losses: Losses
    fired: Bool[Tensor, " d_sae"]


@torch.no_grad()
def gradients(
    coder: TopKCoder, x: Float[Tensor, "n d_model"], dead: Int64[Tensor, " n_dead"] | None = None, auxk_alpha: float = 0
) -> Backward:
    """Returns the gradient of fvu + auxk_alpha * auxk for a batch, its losses and which latents fired.

    Args:
        coder: Read, not changed.
        x: Activations in the coder's dtype and on its device.
        dead: Latents that the auxiliary loss shall revive, see `sparse_coders.auxk`.
        auxk_alpha: Weight of that loss.
    """
    centred = x - coder.b_dec
    acts, indices = coder.encode_centred(centred)
    error = coder.decode_centred(acts, indices).sub_(centred)
    variance = _total_variance(centred)
    fired = torch.bincount(indices.flatten(), acts.flatten(), minlength=coder.d_sae) > 0
    losses = Losses(_square_sum(error) / variance, torch.zeros_like(variance), acts.count_nonzero() / len(x))
    gradient = _topk_gradient(coder, centred, acts, indices, error, 2 / variance)
    if dead is not None and len(dead) and auxk_alpha:
        aux = auxk_loss(coder, centred, -error, dead, variance, auxk_alpha)
        losses = losses._replace(auxk=aux.loss)
        _add(gradient, aux, dead)
    return Backward(gradient, losses, fired)


def _square_sum(x: Float[Tensor, "n d_model"]) -> Float[Tensor, ""]:
    return torch.dot(x.flatten(), x.flatten())


def _total_variance(centred: Float[Tensor, "n d_model"]) -> Float[Tensor, ""]:
    """Returns the summed squared distance from the mean; b_dec is near the mean, so that little cancels."""
    total = centred.sum(0)
    return _square_sum(centred) - torch.dot(total, total) / len(centred)


def _topk_gradient(
    coder: TopKCoder,
    centred: Float[Tensor, "n d_model"],
    acts: Float[Tensor, "n k"],
    indices: Int64[Tensor, "n k"],
    error: Float[Tensor, "n d_model"],
    scale: Float[Tensor, ""],
) -> Gradients:
    """Returns the gradient for g = scale * error; the scale goes to what is small."""
    d_acts = dot_selected(error, coder.W_dec, indices) * (acts > 0) * scale
    groups = tokens_by_latent(indices, coder.d_sae)
    d_b_enc = sum_by_latent(groups, d_acts, torch.ones_like(centred[:, :1]))[:, 0]
    return Gradients(
        W_enc=sum_by_latent(groups, d_acts, centred),
        b_enc=d_b_enc,
        W_dec=sum_by_latent(groups, acts * scale, error),
        b_dec=error.sum(0) * scale - d_b_enc @ coder.W_enc,
    )


def _add(gradient: Gradients, aux: AuxK, dead: Int64[Tensor, " n_dead"]) -> None:
    """Adds the auxiliary loss's gradient, which touches the dead rows only, in place."""
    gradient.W_enc.index_add_(0, dead, aux.W_enc)
    gradient.b_enc.index_add_(0, dead, aux.b_enc)
    gradient.W_dec.index_add_(0, dead, aux.W_dec)
    gradient.b_dec.add_(aux.b_dec)
