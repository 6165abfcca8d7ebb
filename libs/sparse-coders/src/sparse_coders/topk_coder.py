"""The TopK sparse autoencoder of Gao et al. (arXiv 2406.04093, section 2.3), in sparsify's parametrisation."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sparse_coders.errors import InvalidShape

_TILE_BYTES = 16 * 2**20
"""Pre-activations that exist at a time on a CPU: a tile that stays near the cache, and never n x d_sae."""
_CUDA_TILE_BYTES = 2**30
_ROW_MULTIPLE = 64
_ENCODED_ROWS = 256
"""Least height of a tile when encoding: a lower one reads all of W_enc too often. At d_sae 36,864 and d_model 576 a
token takes 399 us in tiles of 64 rows, 306 in tiles of 256, 289 in one tile of 2,048 (2 CPU threads)."""


class TopK(NamedTuple):
    """The k strongest latents of each token, strongest first."""

    acts: Float[Tensor, "n k"]
    """Activations, at least 0. Where fewer than k latents are positive the rest is exactly 0 and did not fire."""
    indices: Int64[Tensor, "n k"]
    """Latents in 0..d_sae-1; meaningless where the activation is 0."""


class TopKCoder(nn.Module):
    """Encoder, top-k and decoder: x ~ b_dec + sum over k latents of act * W_dec[latent]."""

    def __init__(
        self,
        d_model: int,
        d_sae: int,
        k: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        """Makes a coder with all parameters 0; see `sparse_coders.initial_coder` and `sparse_coders.load`.

        Raises:
            InvalidShape: a size is below 1 or k is above d_sae.
        """
        super().__init__()
        if min(d_model, d_sae, k) < 1:
            raise InvalidShape(f"d_model {d_model}, d_sae {d_sae} and k {k} must each be at least 1")
        if k > d_sae:
            raise InvalidShape(f"k is {k} but there are only {d_sae} latents; choose k <= d_sae")
        self.d_model, self.d_sae, self.k = d_model, d_sae, k
        self.W_enc: Float[Tensor, "d_sae d_model"] = _parameter(d_sae, d_model, dtype=dtype, device=device)
        self.b_enc: Float[Tensor, " d_sae"] = _parameter(d_sae, dtype=dtype, device=device)
        self.W_dec: Float[Tensor, "d_sae d_model"] = _parameter(d_sae, d_model, dtype=dtype, device=device)
        self.b_dec: Float[Tensor, " d_model"] = _parameter(d_model, dtype=dtype, device=device)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights, of all arithmetic and of the activations returned."""
        return self.W_enc.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.W_enc.device

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "n d_model"]) -> TopK:
        """Returns topk(relu((x - b_dec) W_enc^T + b_enc)) without ever holding n x d_sae pre-activations.

        Tokens go through the encoder in tiles of one fixed height, the last one padded, so that a token's latents do
        not depend on how many tokens came with it. Equal activations at the k-th place are settled by torch.topk,
        which is deterministic on one kind of machine.

        Raises:
            InvalidShape: x is not d_model wide.
        """
        if x.ndim != 2 or x.shape[1] != self.d_model:
            raise InvalidShape(f"activations are {tuple(x.shape)}; this coder takes [n, {self.d_model}]")
        return self.encode_centred(x.to(self.device, self.dtype) - self.b_dec)

    @torch.no_grad()
    def encode_centred(self, centred: Float[Tensor, "n d_model"]) -> TopK:
        """`encode` for activations from which b_dec is already subtracted, in the coder's dtype and on its device."""
        n = len(centred)
        acts = torch.empty(n, self.k, dtype=self.dtype, device=self.device)
        indices = torch.empty(n, self.k, dtype=torch.int64, device=self.device)
        height = max(tile_height(self.d_sae, self.device), _ENCODED_ROWS)
        for start in range(0, n, height):
            tile = centred[start : start + height]
            rows = len(tile)
            padded = F.pad(tile, (0, 0, 0, -rows % _ROW_MULTIPLE))
            values, where = torch.topk(torch.addmm(self.b_enc, padded, self.W_enc.T), self.k)
            acts[start : start + rows] = values[:rows].relu_()
            indices[start : start + rows] = where[:rows]
        return TopK(acts, indices)

    def decode(self, acts: Float[Tensor, "n k"], indices: Int64[Tensor, "n k"]) -> Float[Tensor, "n d_model"]:
        """Returns b_dec + sum of acts * W_dec[indices], reading k decoder rows for each token."""
        return self.decode_centred(acts.to(self.dtype), indices) + self.b_dec

    def decode_centred(self, acts: Float[Tensor, "n k"], indices: Int64[Tensor, "n k"]) -> Float[Tensor, "n d_model"]:
        """`decode` without b_dec."""
        return F.embedding_bag(indices, self.W_dec, per_sample_weights=acts, mode="sum")

    def forward(self, x: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_model"]:
        """Returns the reconstruction of x. Gradients: see `sparse_coders.gradients`."""
        return self.decode(*self.encode(x))


def tile_height(d_sae: int, device: torch.device) -> int:
    """Returns how many tokens are encoded at a time: a function of the coder and the device only."""
    limit = _CUDA_TILE_BYTES if device.type == "cuda" else _TILE_BYTES
    return max(1, math.floor(limit / (4 * d_sae)) // _ROW_MULTIPLE) * _ROW_MULTIPLE


def _parameter(*shape: int, dtype: torch.dtype, device: torch.device | str) -> nn.Parameter:
    return nn.Parameter(torch.zeros(*shape, dtype=dtype, device=device))
