"""A coder on a set of activations: sums in float64 that add up over batches and tasks."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int64
from sparse_coders import SparseCoder
from torch import Tensor


@dataclass(frozen=True)
class Sums:
    """Totals over the tokens of each block; a block is one document or token row, or several neighbouring ones.

    The target y is what the coder reads, or what a transcoder predicts, and r what the coder gives. Distances are from
    c = b_dec, near which the targets lie, so that the variance loses no digits to a large mean.
    """

    blocks: Int64[Tensor, " blocks"]
    """Number of each block, rising."""
    tokens: Float[Tensor, " blocks"]
    error: Float[Tensor, " blocks"]
    """Squared error |y - r|^2."""
    square: Float[Tensor, " blocks"]
    """|y - c|^2."""
    total: Float[Tensor, "blocks d_out"]
    """y - c."""
    cosine: Float[Tensor, " blocks"]
    """Cosine of y and r."""
    norm_ratio: Float[Tensor, " blocks"]
    """|r| / |y|; 0 where y is 0."""
    output_square: Float[Tensor, " blocks"]
    """|r|^2."""
    product: Float[Tensor, " blocks"]
    """y . r."""
    latent_square: Float[Tensor, " blocks"]
    """|r - c|^2: of what the latents add to b_dec."""
    latent_product: Float[Tensor, " blocks"]
    """(y - c) . (r - c)."""
    fired: Float[Tensor, " blocks"]
    """Latents that fired, over all tokens."""
    strength: Float[Tensor, " blocks"]
    """Activations, over all tokens and latents."""
    firing_count: Int64[Tensor, " d_sae"]
    """Tokens of all blocks for which each latent fired."""
    activation: Float[Tensor, " d_sae"]
    """Activations of each latent, over the tokens of all blocks."""


_BY_LATENT = {"firing_count", "activation"}


@torch.no_grad()
def batch_sums(
    coder: SparseCoder,
    x: Float[Tensor, "n d_model"],
    target: Float[Tensor, "n d_out"],
    blocks: Int64[Tensor, " n"],
) -> Sums:
    """Returns the sums of a batch; everything after the coder itself is float64, on the CPU.

    Args:
        coder: What is measured.
        x: What it reads.
        target: What it should give: x, or for a transcoder the activations of its output hookpoint.
        blocks: Block of each token.
    """
    acts, indices = coder.encode(x)
    r, y, c = coder.decode(acts, indices, x).double().cpu(), target.double().cpu(), coder.b_dec.double().cpu()
    numbers, place = blocks.unique(return_inverse=True)
    fired = acts > 0
    latents, strengths = indices[fired].cpu(), acts[fired].double().cpu()
    centred, added_by_latents = y - c, r - c

    def by_block(values: Tensor) -> Tensor:
        return torch.zeros(len(numbers), *values.shape[1:], dtype=torch.float64).index_add_(0, place, values.double())

    return Sums(
        blocks=numbers,
        tokens=by_block(torch.ones(len(x))),
        error=by_block((y - r).square().sum(1)),
        square=by_block(centred.square().sum(1)),
        total=by_block(centred),
        cosine=by_block(torch.cosine_similarity(y, r)),
        norm_ratio=by_block((r.norm(dim=1) / y.norm(dim=1)).nan_to_num(0.0, 0.0)),
        output_square=by_block(r.square().sum(1)),
        product=by_block((y * r).sum(1)),
        latent_square=by_block(added_by_latents.square().sum(1)),
        latent_product=by_block((centred * added_by_latents).sum(1)),
        fired=by_block(fired.sum(1).cpu()),
        strength=by_block(acts.double().sum(1).cpu()),
        firing_count=torch.bincount(latents, minlength=coder.d_sae),
        activation=torch.bincount(latents, weights=strengths, minlength=coder.d_sae).double(),
    )


def added(parts: Sequence[Sums]) -> Sums:
    """Returns the sums over all parts, block by block."""
    blocks, place = torch.cat([part.blocks for part in parts]).unique(return_inverse=True)

    def by_block(name: str) -> Tensor:
        values = torch.cat([getattr(part, name) for part in parts])
        return torch.zeros(len(blocks), *values.shape[1:], dtype=torch.float64).index_add_(0, place, values)

    summed = {f.name: by_block(f.name) for f in fields(Sums) if f.name not in {"blocks", *_BY_LATENT}}
    by_latent = {name: torch.stack([getattr(part, name) for part in parts]).sum(0) for name in _BY_LATENT}
    return Sums(blocks=blocks, **summed, **by_latent)
