"""The gated coder of Rajamanoharan et al. (arXiv 2404.16014)."""

from collections.abc import Mapping

from dense_products import linear
from jaxtyping import Float
from torch import Tensor

from sparse_coders.threshold_coder import ThresholdCoder


class GatedCoder(ThresholdCoder):
    """act = relu(x' W_enc^T exp(r_mag) + b_mag) where x' W_enc^T + b_gate is above 0, else 0."""

    architecture = "gated"

    b_gate: Float[Tensor, " d_sae"]
    b_mag: Float[Tensor, " d_sae"]
    r_mag: Float[Tensor, " d_sae"]

    def own_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Returns the gate's bias, the magnitude's bias and the logarithm of its scale."""
        return dict.fromkeys(("b_gate", "b_mag", "r_mag"), (self.d_sae,))

    def activations(self, tile: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows d_sae"]:
        """Returns the magnitudes of the latents whose gate is open."""
        product = linear(tile, self.W_enc)
        fires = product + self.b_gate > 0
        return product.mul_(self.r_mag.exp()).add_(self.b_mag).relu_().mul_(fires)
