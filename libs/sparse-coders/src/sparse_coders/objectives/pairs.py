"""What fired in a batch, as (token, latent) pairs, and sums over them whose derivatives are as sparse as they are.

With g the derivative of the loss by the decoded rows, and x' what the encoder multiplies:

    d act_p   = g[token_p] . W_dec[latent_p]     d W_dec_j = sum over pairs p of latent j of act_p g[token_p]
    d b_enc_j = sum of d act_p                   d W_enc_j = sum of d act_p x'[token_p]
    d b_dec   = -(d b_enc W_enc), through x' = x - b_dec of an autoencoder

Nothing of size n x d_sae or pairs x d_model is made. Every sum runs over its pairs in one fixed order.
"""

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from sparse_coders.sparse_coder import SparseCoder


class _ByLatent(NamedTuple):
    order: Int64[Tensor, " pairs"]
    tokens: Int64[Tensor, " pairs"]
    offsets: Int64[Tensor, " ends"]


class Pairs:
    """Pairs in the order of tokens. All have an activation above 0: what was selected at 0 did not fire."""

    def __init__(
        self,
        acts: Float[Tensor, " pairs"],
        latents: Int64[Tensor, " pairs"],
        tokens: Int64[Tensor, " pairs"],
        n: int,
        d_sae: int,
    ) -> None:
        self.acts, self.latents, self.tokens, self.n, self.d_sae = acts, latents, tokens, n, d_sae

    @cached_property
    def offsets(self) -> Int64[Tensor, " ends"]:
        """Token i owns pairs offsets[i]:offsets[i + 1]."""
        return _ends(self.tokens, self.n)

    @cached_property
    def by_latent(self) -> _ByLatent:
        """The same pairs sorted by latent, then token: latent j owns offsets[j]:offsets[j + 1]."""
        size = max(1, len(self.latents))
        order = _sorted(self.latents * size + torch.arange(len(self.latents), device=self.latents.device)) % size
        return _ByLatent(order, self.tokens[order], _ends(self.latents, self.d_sae))

    def where(self, low: int, high: int) -> tuple["Pairs", Int64[Tensor, " chosen"]]:
        """Returns the pairs of latents low..high-1, and their positions."""
        chosen = ((self.latents >= low) & (self.latents < high)).nonzero().flatten()
        part = (self.acts[chosen], self.latents[chosen], self.tokens[chosen])
        return Pairs(*part, self.n, self.d_sae), chosen


def selected(coder: SparseCoder, b_enc: Float[Tensor, " d_sae"], centred: Tensor, pairs: Pairs) -> Tensor:
    """Returns the pairs' activations as a function of W_enc, b_enc and, of an autoencoder, b_dec.

    Args:
        coder: Gives the parameters.
        b_enc: The encoder's bias.
        centred: [n, d_model], what the encoder multiplied.
        pairs: Which activations are wanted, and their values.
    """
    b_dec = None if coder.transcoder else coder.b_dec
    return _Selected.apply(coder.W_enc, b_enc, b_dec, centred, pairs)  # pyright: ignore[reportReturnType]


def decoded(acts: Float[Tensor, " pairs"], W_dec: Float[Tensor, "d_sae d_out"], pairs: Pairs) -> Tensor:
    """Returns [n, d_out]: the sum of act * W_dec[latent] over each token's pairs."""
    return _Decoded.apply(acts, W_dec, pairs)  # pyright: ignore[reportReturnType]


class _Selected(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, W_enc: Tensor, b_enc: Tensor, b_dec: Tensor | None, centred: Tensor, pairs: Pairs
    ) -> Tensor:
        ctx.W_enc, ctx.centred, ctx.pairs, ctx.autoencoder = W_enc.detach(), centred, pairs, b_dec is not None
        return pairs.acts.clone()

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, d_acts: Tensor
    ) -> tuple[Tensor | None, ...]:
        d_W_enc = _sum_by_latent(ctx.pairs, d_acts, ctx.centred)
        d_b_enc = _sum_by_latent(ctx.pairs, d_acts, torch.ones_like(ctx.centred[:, :1]))[:, 0]
        return d_W_enc, d_b_enc, -(d_b_enc @ ctx.W_enc) if ctx.autoencoder else None, None, None


class _Decoded(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, acts: Tensor, W_dec: Tensor, pairs: Pairs
    ) -> Tensor:
        ctx.acts, ctx.W_dec, ctx.pairs = acts.detach(), W_dec.detach(), pairs
        return _bags(pairs.latents, W_dec, pairs.offsets, acts)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        gradient = gradient.contiguous()
        d_acts = _dots(ctx.pairs, gradient, ctx.W_dec)
        d_W_dec = _sum_by_latent(ctx.pairs, ctx.acts, gradient) if ctx.needs_input_grad[1] else None
        return d_acts, d_W_dec, None


def _sum_by_latent(pairs: Pairs, weights: Tensor, rows: Tensor) -> Tensor:
    order, tokens, offsets = pairs.by_latent
    return _bags(tokens, rows, offsets, weights[order])


def _dots(pairs: Pairs, rows: Tensor, table: Tensor) -> Tensor:
    """Returns rows[token] . table[latent] of each pair: the derivative of an embedding bag by its weights."""
    with torch.enable_grad():
        weights = torch.zeros(len(pairs.latents), dtype=rows.dtype, device=rows.device, requires_grad=True)
        return torch.autograd.grad(_bags(pairs.latents, table, pairs.offsets, weights), weights, rows)[0]


def _bags(indices: Tensor, table: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    return F.embedding_bag(indices, table, offsets, per_sample_weights=weights, mode="sum", include_last_offset=True)


def _ends(of: Int64[Tensor, " pairs"], count: int) -> Int64[Tensor, " ends"]:
    ends = torch.zeros(count + 1, dtype=torch.int64, device=of.device)
    torch.cumsum(torch.bincount(of, minlength=count), 0, out=ends[1:])
    return ends


def _sorted(keys: Int64[Tensor, " pairs"]) -> Int64[Tensor, " pairs"]:
    """Sorts unique keys, for which any sort is stable.

    NumPy's vector sort takes 0.5 ms for 65,536 keys on one thread. PyTorch's waits at a barrier of all threads for each
    digit, which costs 0.5 ms on idle cores and 180 ms on busy ones.
    """
    if keys.device.type == "cpu":
        return torch.as_tensor(np.sort(keys.numpy()))
    return keys.sort().values
