"""ReLU coders with an L1 penalty (Bricken et al. 2023), weighted by decoder norms (Conerly et al. 2024)."""

from jaxtyping import Float
from torch import Tensor

from sparse_coders.objectives.dense import DenseObjective, Terms
from sparse_coders.objectives.objective import Pass


class ReLUObjective(DenseObjective):
    """FVU + coefficient * mean over tokens of sum_j act_j |W_dec_j| / deviation.

    An activation counts as far as it moves the reconstruction: a free decoder cannot grow to escape the penalty.
    """

    def terms(self, x: Float[Tensor, "rows d_model"], y: Float[Tensor, "rows d_out"], batch: Pass) -> Terms:
        """Returns what a tile gives."""
        acts = (self.encoded(x, batch) + self.coder.get_parameter("b_enc")).relu()
        return Terms(acts, self.left_over(x, y, acts, batch), self.l1(acts, batch), acts.new_zeros(()))
