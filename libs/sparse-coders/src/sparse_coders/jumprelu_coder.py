"""The JumpReLU coder of Rajamanoharan et al. (arXiv 2407.14435)."""

import torch
from jaxtyping import Float
from torch import Tensor

from sparse_coders.sparse_coder import parameter
from sparse_coders.threshold_coder import ThresholdCoder


class JumpReLUCoder(ThresholdCoder):
    """act = relu(pre) where pre = x' W_enc^T + b_enc is above the latent's threshold, else 0."""

    architecture = "jumprelu"

    def __init__(
        self,
        d_model: int,
        d_sae: int,
        *,
        d_out: int | None = None,
        transcoder: bool = False,
        skip: bool = False,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        """Makes a coder with all parameters 0. Raises InvalidShape as `SparseCoder` does."""
        super().__init__(d_model, d_sae, d_out=d_out, transcoder=transcoder, skip=skip, dtype=dtype, device=device)
        self.b_enc: Float[Tensor, " d_sae"] = parameter(d_sae, dtype=dtype, device=device)
        self.threshold: Float[Tensor, " d_sae"] = parameter(d_sae, dtype=dtype, device=device)

    def activations(self, tile: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows d_sae"]:
        """Returns relu of the pre-activations that are above the threshold."""
        pre = torch.addmm(self.b_enc, tile, self.W_enc.T)
        fires = pre > self.threshold
        return pre.relu_().mul_(fires)
