"""The gated coder's loss: Rajamanoharan et al. (arXiv 2404.16014), section 3.2."""

import torch
from jaxtyping import Float
from torch import Tensor

from sparse_coders.objectives.dense import DenseObjective, Terms
from sparse_coders.objectives.objective import Pass


class GatedObjective(DenseObjective):
    """FVU + coefficient * L1 of relu(gate) + squared error of decoding relu(gate) with a decoder held fixed.

    The gate itself has no derivative: the L1 penalty and the auxiliary error train it. The penalty counts as in
    `ReLUObjective`.
    """

    def terms(self, x: Float[Tensor, "rows d_model"], y: Float[Tensor, "rows d_out"], batch: Pass) -> Terms:
        """Returns what a tile gives."""
        coder = self.coder
        shared = self.encoded(x, batch)
        gate = shared + coder.get_parameter("b_gate")
        acts = (shared * coder.get_parameter("r_mag").exp() + coder.get_parameter("b_mag")).relu() * (gate > 0)
        opening = gate.relu()
        with torch.no_grad():
            base = self.base(x)
        guess = base + self.decoded_densely(opening, None)
        return Terms(acts, self.left_over(x, y, acts, batch), self.l1(opening, batch), (y - guess).square().sum())
