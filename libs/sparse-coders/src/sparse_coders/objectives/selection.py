"""Which latents fire while training: the strongest of each token, or of the whole batch."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from sparse_coders.objectives.pairs import Pairs
from sparse_coders.options import Autocast
from sparse_coders.sparse_coder import tile_height
from sparse_coders.split import Split

_LEAST_HEIGHT = 256


class Encoder:
    """An encoder's product, tile by tile; no derivative is taken through it."""

    def __init__(
        self,
        W_enc: Float[Tensor, "d_sae d_model"],
        b_enc: Float[Tensor, " d_sae"],
        autocast: Autocast,
        split: Split | None = None,
    ) -> None:
        """`split`: of which latents and tokens these are a part; None: they are all."""
        self._W_enc, self._b_enc = W_enc.detach(), b_enc.detach()
        self._autocast: Autocast = autocast
        self._split = split or Split()

    def strongest_of_each(self, centred: Float[Tensor, "n d_model"], k: int) -> Pairs:
        """Returns the k largest activations of each token, as far as they are above 0 (TopK)."""
        values, latents = zip(*(pre.topk(min(k, pre.shape[1])) for _, pre in self._tiles(centred)), strict=True)
        acts, indices = torch.cat(values), torch.cat(latents)
        chosen = self._split.latents.strongest(acts, k)
        tokens, columns = ((acts > 0) & chosen).nonzero(as_tuple=True)
        return Pairs(acts[tokens, columns], indices[tokens, columns], tokens, len(centred), len(self._W_enc))

    def strongest_of_all(self, centred: Float[Tensor, "n d_model"], count: int) -> Pairs:
        """Returns the `count` largest activations of the batch, as far as they are above 0 (BatchTopK)."""
        d_sae = len(self._W_enc)
        kept, places = centred.new_zeros(0), torch.zeros(0, dtype=torch.int64, device=centred.device)
        bound = centred.new_zeros(())
        for start, pre in self._tiles(centred):
            tokens, latents = (pre > bound).nonzero(as_tuple=True)
            kept = torch.cat((kept, pre[tokens, latents]))
            places = torch.cat((places, (tokens + start) * d_sae + latents))
            if len(kept) > count:
                kept, chosen = kept.topk(count, sorted=False)
                places, bound = places[chosen], kept.min()
        chosen = self._split.everyone.strongest(kept, count)
        kept, places = kept[chosen], places[chosen]
        order = places.argsort()
        kept, places = kept[order], places[order]
        return Pairs(kept, places % d_sae, places // d_sae, len(centred), d_sae)

    def _tiles(self, centred: Float[Tensor, "n d_model"]) -> Iterator[tuple[int, Float[Tensor, "rows d_sae"]]]:
        height = max(tile_height(max(1, len(self._W_enc)), centred.device), _LEAST_HEIGHT)
        for start in range(0, len(centred), height):
            yield start, product(centred[start : start + height], self._W_enc, self._b_enc, self._autocast)


def product(
    rows: Float[Tensor, "n d_in"],
    weight: Float[Tensor, "d_out d_in"],
    bias: Float[Tensor, " d_out"] | None,
    autocast: Autocast,
) -> Float[Tensor, "n d_out"]:
    """Returns rows weight^T + bias in the type of rows, multiplied in the autocast type.

    What comes out is of full precision again, so that thresholds are compared and losses summed as without autocast.
    """
    with torch.autocast(rows.device.type, torch.bfloat16, enabled=autocast == "bfloat16"):
        return torch.nn.functional.linear(rows, weight, bias).to(rows.dtype)
