"""From the latents of a token to its error, and from that to the derivative of each activation."""

# pyright: basic, reportMissingImports=false, reportIndexIssue=false

import triton
import triton.language as tl
from jaxtyping import Float, Int64
from torch import Tensor


@triton.jit
def _decode(acts, latents, W_dec, error, d_acts, k, width, BLOCK: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    total = -tl.load(error + token * width + columns, mask=inside, other=0.0)
    for place in range(token * k, token * k + k):
        row = W_dec + tl.load(latents + place) * width
        total += tl.load(acts + place) * tl.load(row + columns, mask=inside, other=0.0)
    tl.store(error + token * width + columns, total, mask=inside)
    for place in range(token * k, token * k + k):
        row = W_dec + tl.load(latents + place) * width
        along = tl.sum(total * tl.load(row + columns, mask=inside, other=0.0))
        tl.store(d_acts + place, tl.where(tl.load(acts + place) > 0, along, 0.0))


def decode(
    acts: Float[Tensor, "n k"],
    latents: Int64[Tensor, "n k"],
    W_dec: Float[Tensor, "d_sae d_out"],
    error: Float[Tensor, "n d_out"],
    d_acts: Float[Tensor, "n k"],
) -> None:
    """Turns targets into errors, in place, and writes error . W_dec[latent] where a latent fired, else 0.

    Args:
        acts: Activations; 0 did not fire.
        latents: Of each activation.
        W_dec: The decoder's weights.
        error: What the latents shall give; afterwards what they give minus that.
        d_acts: Written to.
    """
    n, width = error.shape
    _decode[(n,)](acts, latents, W_dec, error, d_acts, acts.shape[1], width, BLOCK=triton.next_power_of_2(width))
