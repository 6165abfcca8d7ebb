"""The auxiliary loss of `sparse_coders.objectives.auxk`, with its gradient written out for the rows of dead latents.

Compiled training adds these rows to those that it sums itself; autograd would give gradients as large as the weights.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sparse_coders.sparse_coder import tile_height
from sparse_coders.topk_coder import TopKCoder


class AuxK(NamedTuple):
    """The unweighted loss, and the weighted gradient of the dead latents' rows and of b_dec."""

    loss: Float[Tensor, ""]
    W_enc: Float[Tensor, "n_dead d_model"]
    b_enc: Float[Tensor, " n_dead"]
    W_dec: Float[Tensor, "n_dead d_model"]
    b_dec: Float[Tensor, " d_model"]


@torch.no_grad()
def auxk_loss(
    coder: TopKCoder,
    centred: Float[Tensor, "n d_model"],
    residual: Float[Tensor, "n d_model"],
    dead: Int64[Tensor, " n_dead"],
    variance: Float[Tensor, ""],
    alpha: float,
) -> AuxK:
    """Returns the loss and alpha times its gradient, dense in the dead latents and in tiles of tokens."""
    W_enc, b_enc, W_dec = coder.W_enc[dead], coder.b_enc[dead], coder.W_dec[dead]
    d_W_enc, d_b_enc, d_W_dec = torch.zeros_like(W_enc), torch.zeros_like(b_enc), torch.zeros_like(W_dec)
    k_aux = max(1, coder.d_model // 2)
    scale = min(len(dead) / k_aux, 1.0) / variance
    loss = torch.zeros_like(variance)
    height = tile_height(len(dead), coder.device)
    for start in range(0, len(centred), height):
        tile = centred[start : start + height]
        acts = _strongest(torch.addmm(b_enc, tile, W_enc.T).relu_(), k_aux)
        error = acts @ W_dec - residual[start : start + height]
        loss += scale * error.square().sum()
        g = error.mul_(2 * alpha * scale)
        d_acts = (g @ W_dec.T) * (acts > 0)
        d_W_dec.addmm_(acts.T, g)
        d_W_enc.addmm_(d_acts.T, tile)
        d_b_enc += d_acts.sum(0)
    return AuxK(loss, d_W_enc, d_b_enc, d_W_dec, -(d_b_enc @ W_enc))


def _strongest(acts: Float[Tensor, "n n_dead"], k_aux: int) -> Float[Tensor, "n n_dead"]:
    """Returns acts with all but the k_aux largest of each row set to 0."""
    if acts.shape[1] <= k_aux:
        return acts
    values, indices = acts.topk(k_aux)
    return torch.zeros_like(acts).scatter_(1, indices, values)
