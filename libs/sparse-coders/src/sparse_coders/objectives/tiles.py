"""Dense products of a tile of tokens, whose gradients by the weights are added up in place.

PyTorch's own derivative of a product would make a tensor as large as the weights for each tile, and multiply by W_enc
once more to sum over all tokens what b_dec gets. What comes out is of full precision whatever the autocast type is.
"""

from typing import Any

import torch
from dense_products import linear
from jaxtyping import Float
from torch import Tensor

from sparse_coders.options import Autocast

_BLOCK = 4096
"""Latents whose gradient is made at a time where products are of another type than their sum."""


def encoded_tile(
    centred: Float[Tensor, "rows d_model"],
    W_enc: Float[Tensor, "d_sae d_model"],
    b_dec: Float[Tensor, " d_model"] | None,
    d_W_enc: Float[Tensor, "d_sae d_model"] | None,
    autocast: Autocast,
) -> Tensor:
    """Returns [rows, d_sae]: centred W_enc^T.

    Args:
        centred: What the encoder multiplies.
        W_enc: The encoder's weights.
        b_dec: What was subtracted from each row; None: nothing was.
        d_W_enc: What the gradient is added to; None: it is not wanted.
        autocast: Type of the products.
    """
    return _Encoded.apply(centred, W_enc, b_dec, d_W_enc, autocast)  # pyright: ignore[reportReturnType]


def decoded_tile(
    acts: Float[Tensor, "rows d_sae"],
    W_dec: Float[Tensor, "d_sae d_out"],
    d_W_dec: Float[Tensor, "d_sae d_out"] | None,
    autocast: Autocast,
) -> Tensor:
    """Returns [rows, d_out]: acts W_dec. The gradient of W_dec is added to `d_W_dec`; None: it is not wanted."""
    return _Decoded.apply(acts, W_dec, d_W_dec, autocast)  # pyright: ignore[reportReturnType]


def row_norms(W_dec: Float[Tensor, "d_sae d_out"], d_W_dec: Float[Tensor, "d_sae d_out"] | None) -> Tensor:
    """Returns [d_sae]: the L2 norm of each row. The gradient is added to `d_W_dec`; None: it is not wanted."""
    return _RowNorms.apply(W_dec, d_W_dec)  # pyright: ignore[reportReturnType]


class _Encoded(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, centred: Tensor, W_enc: Tensor, b_dec: Tensor | None, d_W_enc: Tensor | None, autocast: Autocast
    ) -> Tensor:
        ctx.centred, ctx.W_enc, ctx.d_W_enc, ctx.autocast = centred, W_enc.detach(), d_W_enc, autocast
        ctx.autoencoder = b_dec is not None
        return _times(centred, ctx.W_enc.T, autocast)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        _add_times(ctx.d_W_enc, gradient, ctx.centred, ctx.autocast)
        return None, None, -(gradient.sum(0) @ ctx.W_enc) if ctx.autoencoder else None, None, None


class _Decoded(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, acts: Tensor, W_dec: Tensor, d_W_dec: Tensor | None, autocast: Autocast
    ) -> Tensor:
        ctx.acts, ctx.W_dec, ctx.d_W_dec, ctx.autocast = acts.detach(), W_dec.detach(), d_W_dec, autocast
        return _times(acts, ctx.W_dec, autocast)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        _add_times(ctx.d_W_dec, ctx.acts, gradient, ctx.autocast)
        return _times(gradient, ctx.W_dec.T, ctx.autocast), None, None, None


class _RowNorms(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, W_dec: Tensor, d_W_dec: Tensor | None
    ) -> Tensor:
        ctx.W_dec, ctx.d_W_dec = W_dec.detach(), d_W_dec
        ctx.norms = ctx.W_dec.norm(dim=1)
        return ctx.norms.clone()

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        if ctx.d_W_dec is not None:
            # A row of 0, with which transcoders begin, has none.
            share = torch.where(ctx.norms > 0, gradient / ctx.norms, 0.0)
            ctx.d_W_dec.addcmul_(ctx.W_dec, share[:, None])
        return None, None


def _times(left: Tensor, right: Tensor, autocast: Autocast) -> Tensor:
    with torch.autocast(left.device.type, torch.bfloat16, enabled=autocast == "bfloat16"):
        return linear(left, right.T).to(left.dtype)


def _add_times(total: Tensor | None, left: Tensor, right: Tensor, autocast: Autocast) -> None:
    """Adds left^T right to the total, in place."""
    if total is None:
        return
    if autocast == "none":
        total.addmm_(left.T, right)
        return
    for first in range(0, len(total), _BLOCK):
        total[first : first + _BLOCK] += _times(left[:, first : first + _BLOCK].T, right, autocast)
