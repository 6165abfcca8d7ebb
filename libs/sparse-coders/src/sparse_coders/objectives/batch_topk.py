"""BatchTopK (Bussmann et al., arXiv 2412.06410) and Matryoshka BatchTopK (arXiv 2503.17547)."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from sparse_coders.batch_topk_coder import MatryoshkaCoder
from sparse_coders.objectives.objective import Pass
from sparse_coders.objectives.pairs import Pairs
from sparse_coders.objectives.selecting import Reconstruction, SelectingObjective
from sparse_coders.objectives.selection import Encoder


class BatchTopKObjective(SelectingObjective):
    """FVU of the n k strongest latents of a batch of n tokens."""

    def _fixed(self) -> frozenset[str]:
        return super()._fixed() | {"threshold"}

    def pairs(self, encoder: Encoder, centred: Float[Tensor, "n d_model"]) -> Pairs:
        """Returns the strongest latents of the batch."""
        assert self.options.k is not None
        return encoder.strongest_of_all(centred, self.options.k * len(centred) * self.split.tokens.size)


class MatryoshkaObjective(BatchTopKObjective):
    """Mean FVU over the nested widths, each reconstructing with those of the fired latents that lie within it.

    The FVU that is reported is that of the whole width.
    """

    def reconstruction(
        self, encoder: Encoder, x: Float[Tensor, "n d_model"], y: Float[Tensor, "n d_out"], pairs: Pairs, batch: Pass
    ) -> Reconstruction:
        """Returns the losses of all widths."""
        assert isinstance(self.coder, MatryoshkaCoder)
        acts = self.selected(self.centred(x).detach(), pairs, batch)
        residual = y - self.base(x)
        losses: list[Tensor] = []
        for low, high in pairwise((0, *self.coder.widths)):
            part, chosen = pairs.where(low, high)
            residual = residual - self.decoded(acts[chosen], part, batch)
            losses.append(residual.square().sum() / batch.variance)
        return Reconstruction(torch.stack(losses).mean(), losses[-1], residual)
