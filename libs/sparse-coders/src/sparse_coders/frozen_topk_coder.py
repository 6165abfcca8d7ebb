"""A TopK coder whose weights stay as they are, so that encoding may search a copy of its encoder in bfloat16."""

import torch
from jaxtyping import Float
from torch import Tensor

from sparse_coders.kernels.rounded_encoder import RoundedEncoder
from sparse_coders.kernels.workers import Workers
from sparse_coders.sparse_coder import Encoded
from sparse_coders.topk_coder import TopKCoder


class FrozenTopKCoder(TopKCoder):
    """`TopKCoder` with an encoder rounded once: the same latents, several times as fast.

    An activation is computed from its token and its latent alone, in float32, so it does not depend on the tokens that
    came with it, nor on the number of threads. Of equal activations the lower latents are taken.
    """

    def __init__(self, coder: TopKCoder) -> None:
        """Shares the weights of a coder. No one may change them from now on: the rounded copy would not follow.

        Args:
            coder: Contiguous float32 weights on the CPU.
        """
        super().__init__(
            coder.d_model,
            coder.d_sae,
            coder.k,
            d_out=coder.d_out,
            transcoder=coder.transcoder,
            skip=coder.W_skip is not None,
            device="meta",
        )
        self.load_state_dict(coder.state_dict(), assign=True)
        self._encoder = RoundedEncoder(self.W_enc, self.b_enc)
        self._workers = Workers()

    @torch.no_grad()
    def encode_centred(self, centred: Float[Tensor, "n d_model"]) -> Encoded:
        """Returns topk(relu(centred W_enc^T + b_enc)), the strongest first."""
        n, centred = len(centred), centred.contiguous()
        acts, indices = torch.empty(n, self.k), torch.empty(n, self.k, dtype=torch.int64)
        height = min(self._encoder.tile_rows, max(1, -(-n // self._workers.count)))

        def tile(place: int) -> None:
            rows = slice(place * height, (place + 1) * height)
            self._encoder.strongest(centred[rows], acts[rows], indices[rows])

        self._workers.each(tile, -(-n // height))
        return Encoded(acts, indices)
