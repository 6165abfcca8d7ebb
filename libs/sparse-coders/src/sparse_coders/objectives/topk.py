"""TopK and Multi-TopK: Gao et al. (arXiv 2406.04093), sections 2.3 and 4.2."""

from jaxtyping import Float
from torch import Tensor

from sparse_coders.objectives.objective import Pass
from sparse_coders.objectives.pairs import Pairs
from sparse_coders.objectives.selecting import Reconstruction, SelectingObjective
from sparse_coders.objectives.selection import Encoder

_MULTIPLE = 4
_MULTIPLE_WEIGHT = 1 / 8


class TopKObjective(SelectingObjective):
    """FVU of the k strongest latents of each token; Multi-TopK adds an eighth of the FVU of the 4 k strongest.

    Only the k strongest count as fired. Both terms train the encoder.
    """

    def pairs(self, encoder: Encoder, centred: Float[Tensor, "n d_model"]) -> Pairs:
        """Returns the k strongest latents of each token."""
        assert self.coder.k is not None
        return encoder.strongest_of_each(centred, self.coder.k)

    def reconstruction(
        self, encoder: Encoder, x: Float[Tensor, "n d_model"], y: Float[Tensor, "n d_out"], pairs: Pairs, batch: Pass
    ) -> Reconstruction:
        """Returns the losses of k latents and, if asked for, of 4 k."""
        main = super().reconstruction(encoder, x, y, pairs, batch)
        if not self.options.multi_topk:
            return main
        assert self.coder.k is not None
        wide = encoder.strongest_of_each(self.centred(x).detach(), _MULTIPLE * self.coder.k)
        more = super().reconstruction(encoder, x, y, wide, batch)
        return main._replace(loss=main.loss + _MULTIPLE_WEIGHT * more.fvu)
