"""Whether what a model gives at a token depends on that token and those before it alone. Imports torch."""

from typing import Any

import torch
from torch import Tensor, nn

from hooked_models.core.hooks import first_tensor

_POSITIONS = 6
_TOLERANCES = {torch.float32: 1e-4}
"""Of the largest value; other dtypes 10^-2. Rounding may differ where a model groups tokens, as mixtures of experts."""


def looks_ahead(base: nn.Module, vocab_size: int, device: torch.device) -> bool:
    """Returns whether another last token changes what is given before it; such a model sees padding too.

    Two passes over a handful of tokens. A model that gives no vector per token, or none that is finite, is not judged;
    nor is one that knows a single token.

    Args:
        base: Without its head.
        vocab_size: Of the model's embeddings.
        device: Where the model is.
    """
    ids = (torch.arange(_POSITIONS, device=device) + 1)[None] % vocab_size
    other = (ids[:, -1:] + 1) % vocab_size
    before, after = (_given(base, row) for row in (ids, torch.cat([ids[:, :-1], other], 1)))
    if before is None or after is None:
        return False
    tolerance = _TOLERANCES.get(before.dtype, 1e-2) * float(before.abs().max())
    return float((before - after)[:, :-1].abs().max()) > tolerance  # NaN is not above anything


@torch.no_grad()
def _given(base: nn.Module, input_ids: Tensor) -> Tensor | None:
    output: Any = base(input_ids=input_ids)
    return first_tensor(output[0], *input_ids.shape)
