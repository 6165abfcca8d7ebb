"""The ReLU coder of Bricken et al. 2023 ("Towards Monosemanticity"), trained with an L1 penalty."""

from collections.abc import Mapping

from dense_products import linear
from jaxtyping import Float
from torch import Tensor

from sparse_coders.threshold_coder import ThresholdCoder


class ReLUCoder(ThresholdCoder):
    """act = relu(x' W_enc^T + b_enc), where x' is x - b_dec for an autoencoder and x for a transcoder."""

    architecture = "relu"

    b_enc: Float[Tensor, " d_sae"]

    def own_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Returns the encoder's bias."""
        return {"b_enc": (self.d_sae,)}

    def activations(self, tile: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows d_sae"]:
        """Returns relu of the pre-activations."""
        return linear(tile, self.W_enc, self.b_enc).relu_()
