"""ReLU coders with an L1 penalty (Bricken et al. 2023), weighted by decoder norms (Conerly et al. 2024)."""

from jaxtyping import Float
from torch import Tensor

from sparse_coders.objectives.dense import DenseObjective, Scales, Terms


class ReLUObjective(DenseObjective):
    """FVU + coefficient * mean over tokens of sum_j act_j |W_dec_j| / deviation.

    An activation counts as far as it moves the reconstruction: a free decoder cannot grow to escape the penalty.
    """

    def terms(self, x: Float[Tensor, "rows d_model"], y: Float[Tensor, "rows d_out"], scales: Scales) -> Terms:
        """Returns what a tile gives."""
        acts = self.pre_activations(x, self.coder.get_parameter("b_enc")).relu()
        penalty = (acts.sum(0) * self.coder.W_dec.norm(dim=1)).sum() / scales.deviation
        return Terms(acts, self.left_over(x, y, acts), penalty, penalty.new_zeros(()))
