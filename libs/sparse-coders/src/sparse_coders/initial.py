"""The coder that training starts from, as sparsify makes it."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sparse_coders.topk_coder import TopKCoder


@torch.no_grad()
def initial_coder(d_model: int, d_sae: int, k: int, sample: Float[Tensor, "n d_model"], seed: int) -> TopKCoder:
    """Returns a float32 coder on the CPU: the same for the same sample and seed.

    The encoder is Kaiming-uniform as in `nn.Linear` with bias 0; each decoder row is its encoder row at unit norm;
    b_dec is the mean of the sample, so that no latents are spent on the mean.

    Raises:
        InvalidShape: a size is below 1 or k is above d_sae.
    """
    coder = TopKCoder(d_model, d_sae, k)
    generator = torch.Generator().manual_seed(seed)
    bound = 1 / math.sqrt(d_model)
    coder.W_enc.uniform_(-bound, bound, generator=generator)
    coder.W_dec.copy_(coder.W_enc)
    normalise_decoder(coder)
    coder.b_dec.copy_(sample.double().mean(0))
    return coder


@torch.no_grad()
def normalise_decoder(coder: TopKCoder) -> None:
    """Scales each row of W_dec to unit norm, in place."""
    norm = coder.W_dec.square().sum(1, keepdim=True).sqrt_()
    coder.W_dec.div_(norm + torch.finfo(coder.dtype).eps)
