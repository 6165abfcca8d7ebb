"""BatchTopK (Bussmann et al., arXiv 2412.06410) and Matryoshka BatchTopK (arXiv 2503.17547)."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from sparse_coders.batch_topk_coder import MatryoshkaCoder
from sparse_coders.objectives.objective import total_variance
from sparse_coders.objectives.pairs import Pairs, decoded, selected
from sparse_coders.objectives.selecting import Reconstruction, SelectingObjective
from sparse_coders.objectives.selection import Encoder


class BatchTopKObjective(SelectingObjective):
    """FVU of the n k strongest latents of a batch of n tokens."""

    def _fixed(self) -> frozenset[str]:
        return super()._fixed() | {"threshold"}

    def pairs(self, encoder: Encoder, centred: Float[Tensor, "n d_model"]) -> Pairs:
        """Returns the strongest latents of the batch."""
        assert self.options.k is not None
        return encoder.strongest_of_all(centred, self.options.k * len(centred))


class MatryoshkaObjective(BatchTopKObjective):
    """Mean FVU over the nested widths, each reconstructing with those of the fired latents that lie within it.

    The FVU that is reported is that of the whole width.
    """

    def reconstruction(
        self, encoder: Encoder, x: Float[Tensor, "n d_model"], y: Float[Tensor, "n d_out"], pairs: Pairs
    ) -> Reconstruction:
        """Returns the losses of all widths."""
        assert isinstance(self.coder, MatryoshkaCoder)
        acts = selected(self.coder, self.b_enc, self.centred(x).detach(), pairs)
        residual, variance = y - self.base(x), total_variance(y)
        losses: list[Tensor] = []
        for low, high in pairwise((0, *self.coder.widths)):
            part, chosen = pairs.where(low, high)
            residual = residual - decoded(acts[chosen], self.coder.W_dec, part)
            losses.append(residual.square().sum() / variance)
        return Reconstruction(torch.stack(losses).mean(), losses[-1], residual)
