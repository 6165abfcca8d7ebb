"""How long a training run is, how wide its coder, and its learning rate at each step."""

import math
from dataclasses import dataclass

from sae_trainer.spec import CoderSpec

_LARGEST_DEFAULT_WARMUP = 1000
_LARGEST_DEFAULT_DEAD_TOKENS = 10_000_000


class ImpossibleRun(ValueError):
    """A spec that does not fit the activations; `field` says which of its fields."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Run:
    """A spec with every rule worked out."""

    d_sae: int
    batch_tokens: int
    step_count: int
    peak_learning_rate: float
    warmup_steps: int
    decay_steps: int
    dead_tokens: int

    def learning_rate(self, step: int) -> float:
        """Returns the rate of a step counted from 0: linear warm-up to the peak, linear decay from it towards 0."""
        warmup = min(1.0, (step + 1) / (self.warmup_steps + 1))
        decay = min(1.0, (self.step_count - step) / (self.decay_steps + 1))
        return self.peak_learning_rate * min(warmup, decay)


def run_of(spec: CoderSpec, d_model: int, token_count: int) -> Run:
    """Works out a spec for activations of this width and number.

    The default learning rate is 2e-4 / sqrt(d_sae / 2^14): Gao et al. (arXiv 2406.04093), section 3, as in sparsify.

    Raises:
        ImpossibleRun: k > d_sae, or fewer tokens than one batch.
    """
    step_count = math.floor(spec.epochs * token_count / spec.batch_tokens)
    if step_count < 1:
        raise ImpossibleRun(
            "batch_tokens",
            f"{token_count} tokens times {spec.epochs:g} epochs are fewer than one batch of {spec.batch_tokens}; "
            "lower batch_tokens, raise epochs or store more activations",
        )
    d_sae = spec.d_sae or round((spec.expansion_factor or 0) * d_model)
    if d_sae < spec.k:
        raise ImpossibleRun("k", f"k is {spec.k} but d_sae is {d_sae} (d_model {d_model}); choose k <= d_sae")
    run_tokens = step_count * spec.batch_tokens
    default_warmup = min(step_count // 10, _LARGEST_DEFAULT_WARMUP)
    return Run(
        d_sae=d_sae,
        batch_tokens=spec.batch_tokens,
        step_count=step_count,
        peak_learning_rate=spec.learning_rate or 2e-4 / math.sqrt(d_sae / 2**14),
        warmup_steps=default_warmup if spec.warmup_steps is None else spec.warmup_steps,
        decay_steps=math.floor(spec.decay_fraction * step_count),
        dead_tokens=spec.dead_tokens or max(1, min(run_tokens // 4, _LARGEST_DEFAULT_DEAD_TOKENS)),
    )
