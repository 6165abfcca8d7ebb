"""Dead latents started anew: Bricken et al. 2023, appendix "Neuron resampling"."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sparse_coders.group import Group
from sparse_coders.sparse_coder import SparseCoder

_ENCODER_NORM = 0.2
"""Norm of a new encoder row relative to the mean of the living."""


@torch.no_grad()
def resample(
    coder: SparseCoder,
    centred: Float[Tensor, "n d_model"],
    residual: Float[Tensor, "n d_out"],
    dead: Int64[Tensor, " n_dead"],
    generator: torch.Generator,
    latents: Group,
) -> None:
    """Points dead latents at tokens drawn with the square of their loss as weight, in place.

    The decoder row is the token's residual at unit norm; the encoder row what the encoder reads of the token, at a
    fifth of the mean norm of the living; all else is 0. Processes that share the latents draw the same tokens, one
    after the other.
    """
    counts = latents.counts(len(dead), coder.device)
    first = sum(counts[: latents.rank])
    weights = residual.square().sum(1).square().double().cpu() + torch.finfo(torch.float64).tiny
    drawn = torch.multinomial(weights, sum(counts), replacement=True, generator=generator)
    chosen = drawn[first : first + len(dead)].to(coder.device)
    norm = _mean_norm(coder, dead, sum(counts), latents)
    coder.W_dec[dead] = torch.nn.functional.normalize(residual[chosen], dim=1)
    coder.W_enc[dead] = torch.nn.functional.normalize(centred[chosen], dim=1) * norm * _ENCODER_NORM
    for name in coder.own_shapes():
        coder.get_parameter(name)[dead] = 0.0


def _mean_norm(
    coder: SparseCoder, dead: Int64[Tensor, " n_dead"], dead_count: int, latents: Group
) -> Float[Tensor, ""]:
    """Returns the mean norm of the encoder rows of the living, of all processes; of all rows where none lives."""
    norms, d_sae = coder.W_enc.norm(dim=1), coder.d_sae * latents.size
    if dead_count == d_sae:
        return latents.sum_(norms.sum()) / d_sae
    norms[dead] = 0
    return latents.sum_(norms.sum()) / (d_sae - dead_count)
