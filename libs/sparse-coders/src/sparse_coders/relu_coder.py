"""The ReLU coder of Bricken et al. 2023 ("Towards Monosemanticity"), trained with an L1 penalty."""

import torch
from jaxtyping import Float
from torch import Tensor

from sparse_coders.sparse_coder import parameter
from sparse_coders.threshold_coder import ThresholdCoder


class ReLUCoder(ThresholdCoder):
    """act = relu(x' W_enc^T + b_enc), where x' is x - b_dec for an autoencoder and x for a transcoder."""

    architecture = "relu"

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

    def activations(self, tile: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows d_sae"]:
        """Returns relu of the pre-activations."""
        return torch.addmm(self.b_enc, tile, self.W_enc.T).relu_()
