"""The JumpReLU coder of Rajamanoharan et al. (arXiv 2407.14435)."""

from collections.abc import Mapping

from dense_products import linear
from jaxtyping import Float
from torch import Tensor

from sparse_coders.threshold_coder import ThresholdCoder


class JumpReLUCoder(ThresholdCoder):
    """act = relu(pre) where pre = x' W_enc^T + b_enc is above the latent's threshold, else 0."""

    architecture = "jumprelu"

    b_enc: Float[Tensor, " d_sae"]
    threshold: Float[Tensor, " d_sae"]

    def own_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Returns the encoder's bias and a threshold for each latent."""
        return {"b_enc": (self.d_sae,), "threshold": (self.d_sae,)}

    def activations(self, tile: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows d_sae"]:
        """Returns relu of the pre-activations that are above the threshold."""
        pre = linear(tile, self.W_enc, self.b_enc)
        fires = pre > self.threshold
        return pre.relu_().mul_(fires)
