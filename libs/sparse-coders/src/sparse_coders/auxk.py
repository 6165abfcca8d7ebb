"""The auxiliary loss of `sparse_coders.objectives.auxk`, with its gradient written out for the rows of dead latents.

Kernels add these rows to those that they sum themselves; autograd would give gradients as large as the weights.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sparse_coders.objectives.auxk import auxk_size
from sparse_coders.sparse_coder import tile_height
from sparse_coders.topk_coder import TopKCoder


class AuxKRows(NamedTuple):
    """The unweighted loss, and the weighted gradient of the dead latents' rows."""

    loss: Float[Tensor, ""]
    W_enc: Float[Tensor, "n_dead d_model"]
    b_enc: Float[Tensor, " n_dead"]
    W_dec: Float[Tensor, "n_dead d_out"]


@torch.no_grad()
def auxk_rows(
    coder: TopKCoder,
    centred: Float[Tensor, "n d_model"],
    residual: Float[Tensor, "n d_out"],
    dead: Int64[Tensor, " n_dead"],
    variance: Float[Tensor, ""],
    alpha: float,
) -> AuxKRows:
    """Returns the loss and alpha times its gradient, dense in the dead latents and in tiles of tokens.

    That of b_dec, through what an autoencoder's encoder reads, follows from b_enc's.
    """
    W_enc, b_enc, W_dec = coder.W_enc[dead], coder.b_enc[dead], coder.W_dec[dead]
    d_W_enc, d_b_enc, d_W_dec = torch.zeros_like(W_enc), torch.zeros_like(b_enc), torch.zeros_like(W_dec)
    k_aux, scale = auxk_size(coder.d_model, len(dead))
    scale = scale / variance
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
    return AuxKRows(loss, d_W_enc, d_b_enc, d_W_dec)


def _strongest(acts: Float[Tensor, "n n_dead"], k_aux: int) -> Float[Tensor, "n n_dead"]:
    """Returns acts with all but the k_aux largest of each row set to 0."""
    if acts.shape[1] <= k_aux:
        return acts
    values, indices = acts.topk(k_aux)
    return torch.zeros_like(acts).scatter_(1, indices, values)
