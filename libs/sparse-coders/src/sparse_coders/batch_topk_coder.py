"""BatchTopK coders (Bussmann et al., arXiv 2412.06410) and nested ones (Matryoshka, arXiv 2503.17547).

They train with the k * n strongest activations of a batch of n tokens. To encode one token by itself, one threshold
for all latents stands in for that choice: the mean of the least activation that was kept.
"""

from collections.abc import Mapping
from typing import Unpack

from dense_products import linear
from jaxtyping import Float
from torch import Tensor

from sparse_coders.errors import InvalidShape
from sparse_coders.sparse_coder import CoderOptions
from sparse_coders.threshold_coder import ThresholdCoder


class BatchTopKCoder(ThresholdCoder):
    """act = relu(pre) where it is above the one threshold of all latents, else 0."""

    architecture = "batch_topk"

    b_enc: Float[Tensor, " d_sae"]
    threshold: Float[Tensor, ""]

    def own_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Returns the encoder's bias and the one threshold."""
        return {"b_enc": (self.d_sae,), "threshold": ()}

    def activations(self, tile: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows d_sae"]:
        """Returns relu of the pre-activations that are above the threshold."""
        acts = linear(tile, self.W_enc, self.b_enc).relu_()
        return acts.mul_(acts > self.threshold)


class MatryoshkaCoder(BatchTopKCoder):
    """A BatchTopK coder whose first latents are a coder by themselves, at each of several widths."""

    architecture = "matryoshka_batch_topk"

    def __init__(self, d_model: int, d_sae: int, *, widths: tuple[int, ...], **options: Unpack[CoderOptions]) -> None:
        """Makes a coder with all parameters 0.

        Raises:
            InvalidShape: as `SparseCoder` does, or the widths do not rise to d_sae.
        """
        super().__init__(d_model, d_sae, **options)
        rising = all(low < high for low, high in zip((0, *widths), widths, strict=False))
        if not widths or not rising or widths[-1] != d_sae:
            raise InvalidShape(f"the nested widths are {list(widths)}; they must rise, the last one to d_sae {d_sae}")
        self.widths = widths
