"""The JumpReLU coder's loss: Rajamanoharan et al. (arXiv 2407.14435), section 3, with pseudo-derivatives."""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sparse_coders.objectives.auxk import auxk_loss
from sparse_coders.objectives.dense import DenseObjective, Terms
from sparse_coders.objectives.objective import Pass


class JumpReLUObjective(DenseObjective):
    """FVU + coefficient * mean L0 + AuxK for the dead.

    Both jump at a threshold. Of a pre-activation within half a bandwidth eps of it, the derivatives by the threshold
    are taken as -threshold / eps for the activation and -1 / eps for the count.
    """

    def terms(self, x: Float[Tensor, "rows d_model"], y: Float[Tensor, "rows d_out"], batch: Pass) -> Terms:
        """Returns what a tile gives."""
        pre = self.encoded(x, batch) + self.coder.get_parameter("b_enc")
        threshold = self.coder.get_parameter("threshold")
        acts: Tensor = _Jump.apply(pre, threshold, batch.bandwidth)  # pyright: ignore[reportAssignmentType]
        count: Tensor = _Count.apply(pre, threshold, batch.bandwidth)  # pyright: ignore[reportAssignmentType]
        return Terms(acts, self.left_over(x, y, acts, batch), count, count.new_zeros(()))

    def auxiliary(
        self,
        x: Float[Tensor, "n d_model"],
        residual: Float[Tensor, "n d_out"],
        dead: Int64[Tensor, " n_dead"],
        batch: Pass,
    ) -> Float[Tensor, ""] | None:
        """Returns AuxK, for which dead latents fire without regard to their thresholds."""
        return auxk_loss(self, self.centred(x).detach(), residual, dead, batch)


class _Jump(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float
    ) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return pre.relu() * (pre > threshold)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        pre, threshold = ctx.saved_tensors
        near = _near(pre, threshold, ctx.bandwidth)
        return gradient * (pre > threshold), -(near * gradient).sum(0) * threshold / ctx.bandwidth, None


class _Count(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float
    ) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return (pre > threshold).to(pre.dtype).sum()

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        pre, threshold = ctx.saved_tensors
        return None, -gradient / ctx.bandwidth * _near(pre, threshold, ctx.bandwidth).sum(0), None


def _near(pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    return ((pre - threshold).abs() < bandwidth / 2).to(pre.dtype)
