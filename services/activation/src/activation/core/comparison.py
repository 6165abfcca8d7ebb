"""Next-token distributions compared, without holding the logits of all positions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int32, Int64
from torch import Tensor

LogitsOf = Callable[[Float[Tensor, "n d_model"]], Float[Tensor, "n vocab"]]

_LOGIT_BYTES = 32 * 2**20
"""Of one float32 [positions, vocab]; four of them exist at a time: 128 MiB, whatever batch and vocabulary."""
_CUDA_LOGIT_BYTES = 2**30


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """Per predicted position, in nats, float64, on the CPU."""

    original: Float64[Tensor, " n"]
    """Cross-entropy of the model as it is."""
    arms: Float64[Tensor, "arms n"]
    """Cross-entropy of each arm."""
    divergence: Float64[Tensor, "arms n"]
    """KL(original || arm)."""


def predicted_positions(documents: Int32[np.ndarray, "rows pos"]) -> Bool[np.ndarray, "rows pos"]:
    """Returns the positions whose next token is a counted one of the same document.

    So neither BOS nor padding predicts or is predicted, nor does one document predict another.

    >>> predicted_positions(np.asarray([[-1, 4, 4, 5, 5, -1]], np.int32)).nonzero()[1].tolist()
    [1, 3]
    """
    predicted = np.zeros(documents.shape, bool)
    predicted[:, :-1] = (documents[:, :-1] >= 0) & (documents[:, :-1] == documents[:, 1:])
    return predicted


@torch.no_grad()
def compare(
    logits_of: LogitsOf,
    original: Float[Tensor, "n d_model"],
    arms: Sequence[Float[Tensor, "n d_model"]],
    targets: Int64[Tensor, " n"],
    vocab_size: int,
) -> Losses:
    """Compares the distributions that last hidden states lead to, some positions at a time.

    The original's logits are made once for all arms.
    """
    step = positions_at_a_time(vocab_size, original.device)
    losses = Losses(
        torch.empty(len(targets), dtype=torch.float64),
        torch.empty(len(arms), len(targets), dtype=torch.float64),
        torch.empty(len(arms), len(targets), dtype=torch.float64),
    )
    for at in range(0, len(targets), step):
        here = slice(at, at + step)
        wanted = targets[here, None]
        log_p = torch.log_softmax(logits_of(original[here]), -1)
        p = log_p.exp()
        losses.original[here] = -log_p.gather(1, wanted)[:, 0].cpu().double()
        for i, states in enumerate(arms):
            log_q = torch.log_softmax(logits_of(states[here]), -1)
            losses.arms[i, here] = -log_q.gather(1, wanted)[:, 0].cpu().double()
            # In place of log q: no further [positions, vocab] is made.
            divergence = log_q.neg_().add_(log_p).mul_(p).sum(-1, dtype=torch.float64)
            losses.divergence[i, here] = divergence.clamp_(min=0.0).cpu()
    return losses


def positions_at_a_time(vocab_size: int, device: torch.device) -> int:
    """Returns how many positions have logits at a time."""
    limit = _CUDA_LOGIT_BYTES if device.type == "cuda" else _LOGIT_BYTES
    return max(1, limit // (4 * vocab_size))
