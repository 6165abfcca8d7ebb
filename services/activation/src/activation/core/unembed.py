"""A causal language model cut in two: from token ids to its last hidden states, and from those to logits."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn


class Unembedding:
    """Logits of a few positions at a time, so that [batch, pos, vocab] is never in memory."""

    def __init__(self, whole: nn.Module, base: nn.Module) -> None:
        """`base` is the model inside `whole` that ends with the last hidden states.

        Raises ValueError when they are the same: then nothing lies between the states and the logits to be done later.
        """
        if whole is base:
            raise ValueError(f"{type(whole).__name__} has no base model whose last hidden states become logits")
        self._whole = whole
        self._base = base
        self._output: Any = None

    @torch.no_grad()
    def states(self, input_ids: Int64[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        """Returns the last hidden states, as they are before the unembedding."""
        self._output = self._base(input_ids=input_ids)
        return self._output[0]

    @torch.no_grad()
    def logits(self, states: Float[Tensor, "n d_model"]) -> Float[Tensor, "n vocab"]:
        """Returns the logits of some last hidden states, in float32. `states()` was called before.

        The whole model is called with a base model that gives these states at once: so whatever it does to them
        (a scale, a soft cap) is done, and nothing is assumed about how.
        """
        ids = torch.zeros(1, len(states), dtype=torch.int64, device=states.device)
        with self._base_gives(states[None]):
            return self._whole(input_ids=ids).logits[0].float()

    @contextmanager
    def _base_gives(self, states: Float[Tensor, "one n d_model"]) -> Generator[None]:
        known = self._output
        output = (
            type(known)(**{**known, "last_hidden_state": states}) if hasattr(known, "keys") else (states, *known[1:])
        )
        forward = self._base.forward
        self._base.forward = lambda *args, **kwargs: output
        try:
            yield
        finally:
            self._base.forward = forward
