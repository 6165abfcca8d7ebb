"""VocabProj: which tokens a latent's direction itself stands for (Gur-Arieh et al. 2501.08319)."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from activation.core.unembed import Unembedding


def final_norm(base: nn.Module, unembedding: Unembedding, device: torch.device) -> nn.Module | None:
    """Returns the module of a base model that gives its last hidden states from the residual stream, None without one.

    It is found in a pass: the last direct child of the base model that ran, whose output the last hidden states are.
    """
    ran: list[tuple[nn.Module, Any]] = []
    handles = [
        child.register_forward_hook(lambda module, args, output: ran.append((module, output)))
        for child in base.children()
    ]
    try:
        states = unembedding.states(torch.zeros(1, 2, dtype=torch.int64, device=device))
    finally:
        for handle in handles:
            handle.remove()
    if not ran:
        return None
    module, output = ran[-1]
    is_last = isinstance(output, Tensor) and output.shape == states.shape and torch.equal(output, states)
    return module if is_last and "norm" in type(module).__name__.lower() else None


@torch.no_grad()
def projection(
    norm: nn.Module, unembedding: Unembedding, directions: Float[Tensor, "n d_model"]
) -> Float[Tensor, "n vocab"]:
    """Returns U ln_f(W_dec[latent]): the logits when a latent's direction is all of the residual stream."""
    dtype = next((p.dtype for p in norm.parameters()), directions.dtype)
    return unembedding.logits(norm(directions.to(dtype)[None])[0])
