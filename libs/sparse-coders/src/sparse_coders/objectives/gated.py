"""The gated coder's loss: Rajamanoharan et al. (arXiv 2404.16014), section 3.2."""

import torch
from jaxtyping import Float
from torch import Tensor

from sparse_coders.objectives.dense import DenseObjective, Scales, Terms
from sparse_coders.objectives.selection import product


class GatedObjective(DenseObjective):
    """FVU + coefficient * L1 of relu(gate) + squared error of decoding relu(gate) with a decoder held fixed.

    The gate itself has no derivative: the L1 penalty and the auxiliary error train it. The penalty counts as in
    `ReLUObjective`.
    """

    def terms(self, x: Float[Tensor, "rows d_model"], y: Float[Tensor, "rows d_out"], scales: Scales) -> Terms:
        """Returns what a tile gives."""
        coder = self.coder
        shared = self.pre_activations(x, None)
        gate = shared + coder.get_parameter("b_gate")
        acts = (shared * coder.get_parameter("r_mag").exp() + coder.get_parameter("b_mag")).relu() * (gate > 0)
        opening = gate.relu()
        penalty = (opening.sum(0) * coder.W_dec.norm(dim=1)).sum() / scales.deviation
        with torch.no_grad():
            base = self.base(x)
        guess = base + product(opening, coder.W_dec.detach().T, None, self.options.autocast)
        return Terms(acts, self.left_over(x, y, acts), penalty, (y - guess).square().sum())
