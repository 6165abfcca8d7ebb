"""Dead latents started anew: Bricken et al. 2023, appendix "Neuron resampling"."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

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
) -> None:
    """Points dead latents at tokens drawn with the square of their loss as weight, in place.

    The decoder row is the token's residual at unit norm; the encoder row what the encoder reads of the token, at a
    fifth of the mean norm of the living; all else is 0.
    """
    living = torch.ones(coder.d_sae, dtype=torch.bool, device=coder.device)
    living[dead] = False
    weights = residual.square().sum(1).square().double().cpu() + torch.finfo(torch.float64).tiny
    chosen = torch.multinomial(weights, len(dead), replacement=True, generator=generator).to(coder.device)
    norm = coder.W_enc[living].norm(dim=1).mean() if bool(living.any()) else coder.W_enc.norm(dim=1).mean()
    coder.W_dec[dead] = torch.nn.functional.normalize(residual[chosen], dim=1)
    coder.W_enc[dead] = torch.nn.functional.normalize(centred[chosen], dim=1) * norm * _ENCODER_NORM
    for name in coder.own_shapes():
        coder.get_parameter(name)[dead] = 0.0
