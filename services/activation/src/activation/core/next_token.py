"""Next-token distributions, clean and intervened: how far apart, which tokens moved, what is sampled."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from dragoman.ids import derived_seed
from jaxtyping import Float, Int64
from torch import Tensor


def kl_divergence(clean: Float[Tensor, "n vocab"], other: Float[Tensor, "n vocab"]) -> Float[Tensor, " n"]:
    """Returns KL(clean || other) in nats, from log-probabilities. Never below 0, which rounding would give."""
    # A token that has probability 0 in the clean distribution adds nothing, whatever the other says of it.
    terms = torch.where(clean > -torch.inf, clean.exp() * (clean - other), 0.0)
    return terms.sum(-1, dtype=torch.float64).clamp_min(0)


@dataclass(frozen=True, slots=True)
class Movers:
    """Tokens in the order of how far they moved, the farthest first."""

    tokens: list[int]
    log_prob_changes: list[float]
    logit_changes: list[float]


def movers(
    log_prob_change: Float[Tensor, " vocab"], logit_change: Float[Tensor, " vocab"], count: int
) -> tuple[Movers, Movers]:
    """Returns the tokens whose mean log-probability rises most, and those where it falls most; ties by token id."""
    raised = torch.sort(log_prob_change, descending=True, stable=True).indices[:count]
    lowered = torch.sort(log_prob_change, stable=True).indices[:count]

    def of(tokens: Tensor) -> Movers:
        return Movers(tokens.tolist(), log_prob_change[tokens].tolist(), logit_change[tokens].tolist())

    return of(raised), of(lowered)


class Sampler:
    """Draws next tokens, one stream of random numbers for each line: the Gumbel-max trick.

    Two samplers with the same keys draw with the same numbers, so that a clean and a steered continuation differ only
    where the distributions do.
    """

    def __init__(self, keys: Sequence[Sequence[int]], seed: int, temperature: float) -> None:
        """`keys`: what names each line. `temperature`: 0 takes the likeliest token."""
        self._temperature = temperature
        self._generators = [np.random.Generator(np.random.Philox(derived_seed("next token", seed, *k))) for k in keys]

    def draw(self, logits: Float[Tensor, "batch vocab"]) -> Int64[Tensor, " batch"]:
        """Returns a token for each line."""
        if self._temperature == 0:
            return logits.argmax(-1)
        width = logits.shape[1]
        noise = np.stack([g.standard_exponential(width, dtype=np.float32) for g in self._generators])
        gumbel = -torch.from_numpy(noise).log().to(logits.device)
        return (logits.float() / self._temperature + gumbel).argmax(-1)
