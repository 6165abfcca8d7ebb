"""The TopK sparse autoencoder of Gao et al. (arXiv 2406.04093, section 2.3), in sparsify's parametrisation."""

from collections.abc import Mapping
from typing import Unpack

import torch
from dense_products import linear
from jaxtyping import Float
from torch import Tensor

from sparse_coders.errors import InvalidShape
from sparse_coders.sparse_coder import CoderOptions, Encoded, SparseCoder


class TopKCoder(SparseCoder):
    """Encoder, top-k and decoder: x ~ b_dec + sum over k latents of act * W_dec[latent]."""

    architecture = "topk"

    b_enc: Float[Tensor, " d_sae"]

    def __init__(self, d_model: int, d_sae: int, k: int, **options: Unpack[CoderOptions]) -> None:
        """Makes a coder with all parameters 0; see `sparse_coders.initial_coder` and `sparse_coders.load`.

        Raises:
            InvalidShape: a size is below 1 or k is above d_sae.
        """
        super().__init__(d_model, d_sae, **options)
        if k < 1:
            raise InvalidShape(f"k is {k}; it must be at least 1")
        if k > d_sae:
            raise InvalidShape(f"k is {k} but there are only {d_sae} latents; choose k <= d_sae")
        self._k = k

    def own_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Returns the encoder's bias."""
        return {"b_enc": (self.d_sae,)}

    @property
    def k(self) -> int:
        """Latents for each token."""
        return self._k

    @torch.no_grad()
    def encode_centred(self, centred: Float[Tensor, "n d_model"]) -> Encoded:
        """Returns topk(relu(centred W_enc^T + b_enc)), the strongest first.

        Equal activations at the k-th place are settled by torch.topk, which is deterministic on one kind of machine.
        """
        n = len(centred)
        acts = torch.empty(n, self.k, dtype=self.dtype, device=self.device)
        indices = torch.empty(n, self.k, dtype=torch.int64, device=self.device)
        for start, rows, tile in self.tiles(centred):
            values, where = torch.topk(linear(tile, self.W_enc, self.b_enc), self.k)
            acts[start : start + rows] = values[:rows].relu_()
            indices[start : start + rows] = where[:rows]
        return Encoded(acts, indices)
