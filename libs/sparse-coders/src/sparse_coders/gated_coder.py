"""The gated coder of Rajamanoharan et al. (arXiv 2404.16014)."""

import torch
from jaxtyping import Float
from torch import Tensor

from sparse_coders.sparse_coder import parameter
from sparse_coders.threshold_coder import ThresholdCoder


class GatedCoder(ThresholdCoder):
    """act = relu(x' W_enc^T exp(r_mag) + b_mag) where x' W_enc^T + b_gate is above 0, else 0."""

    architecture = "gated"

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
        self.b_gate: Float[Tensor, " d_sae"] = parameter(d_sae, dtype=dtype, device=device)
        self.b_mag: Float[Tensor, " d_sae"] = parameter(d_sae, dtype=dtype, device=device)
        self.r_mag: Float[Tensor, " d_sae"] = parameter(d_sae, dtype=dtype, device=device)

    def activations(self, tile: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows d_sae"]:
        """Returns the magnitudes of the latents whose gate is open."""
        product = tile @ self.W_enc.T
        fires = product + self.b_gate > 0
        return product.mul_(self.r_mag.exp()).add_(self.b_mag).relu_().mul_(fires)
