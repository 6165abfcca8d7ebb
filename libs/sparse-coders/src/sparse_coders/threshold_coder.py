"""Coders whose latents fire one by one, each for itself: how many fire for a token varies."""

from abc import abstractmethod

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sparse_coders.sparse_coder import Encoded, SparseCoder


class ThresholdCoder(SparseCoder):
    """Encodes tile by tile and keeps of each only what fired."""

    @abstractmethod
    def activations(self, tile: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows d_sae"]:
        """Returns all activations of a tile, 0 where a latent does not fire; what is not a number stays so."""

    @torch.no_grad()
    def encode_centred(self, centred: Float[Tensor, "n d_model"]) -> Encoded:
        """Returns what fired, in the order of latents, as wide as the largest number of latents of a token."""
        empty = centred.new_zeros(0, 1)
        pieces = [Encoded(empty, empty.long())]
        pieces.extend(_packed(self.activations(tile)[:rows]) for _, rows, tile in self.tiles(centred))
        width = max(piece.acts.shape[1] for piece in pieces)
        acts, indices = zip(*((_widened(p.acts, width), _widened(p.indices, width)) for p in pieces), strict=True)
        return Encoded(torch.cat(acts), torch.cat(indices))


def _packed(acts: Float[Tensor, "rows d_sae"]) -> Encoded:
    rows, latents = acts.nonzero(as_tuple=True)
    counts = torch.bincount(rows, minlength=len(acts))
    columns = torch.arange(len(rows), device=acts.device) - (counts.cumsum(0) - counts)[rows]
    # At least one column, so that no reader meets a tensor without elements.
    packed = acts.new_zeros(len(acts), max(1, int(counts.max())))
    indices = torch.zeros_like(packed, dtype=torch.int64)
    packed[rows, columns] = acts[rows, latents]
    indices[rows, columns] = latents
    return Encoded(packed, indices)


def _widened(values: Tensor, width: int) -> Tensor:
    return F.pad(values, (0, width - values.shape[1]))
