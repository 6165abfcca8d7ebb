"""How long a training run is, how wide its coder, and its learning rate at each step."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sae_trainer.core.architectures import DEFAULT_L0, width_misfits
from sae_trainer.spec import CoderSpec

_RATES: Mapping[str, float] = {"adam": 6e-4, "signum": 5e-3, "muon": 2e-3, "schedule_free": 2e-4}
"""Default learning rates at d_sae 2^14, as in sparsify, but Adam's. Gao et al. chose its 2e-4 for batches of 131,072
tokens and billions of them; with 2,048, three times as much is better in runs of millions (docs/methods.md)."""
_SCALED_OPTIMISERS = ("adam", "signum", "schedule_free")
"""Muon's step does not depend on the size of a matrix."""
_NESTED_SHARES = (16, 8, 4, 2)
_LEAST_NESTED_SPARSITY = 8
"""A nested coder of fewer latents than 8 k is hardly sparse: its loss asks for mixtures of what is to be found. By
default only the half of d_sae may be such."""
_LARGEST_DEFAULT_WARMUP = 1000
_LARGEST_DEFAULT_DEAD_TOKENS = 10_000_000
_DEAD_SHARE = 200
_DEAD_INTERVALS = 300
"""A latent is dead when it was idle for a 200th of the run, and for 300 times as long as the mean latent is."""
_L0_WARMUP_SHARE = 0.75
_L0_SETTLING = 10.0
_WARMED_UP = ("relu", "gated")
"""What an L1 penalty closes early it rarely opens again, so that their target L0 falls over three quarters of the run,
as long as 10 / sqrt(learning rate) steps remain, in which the penalty's weight can change twentyfold. JumpReLU starts
at its target, and is better kept there."""


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
    l0_warmup_steps: int
    """Steps over which the target L0 of ReLU and Gated falls to what was asked for."""
    widths: tuple[int, ...]
    """Of the nested coders of a Matryoshka coder; empty for the others."""

    def learning_rate(self, step: int) -> float:
        """Returns the rate of a step counted from 0: linear warm-up to the peak, linear decay from it towards 0."""
        warmup = min(1.0, (step + 1) / (self.warmup_steps + 1))
        decay = min(1.0, (self.step_count - step) / (self.decay_steps + 1))
        return self.peak_learning_rate * min(warmup, decay)


def run_of(spec: CoderSpec, d_model: int, token_count: int) -> Run:
    """Works out a spec for activations of this width and number.

    Default learning rates fall with sqrt(d_sae): Gao et al. (arXiv 2406.04093), section 3, as in sparsify.

    Raises:
        ImpossibleRun: more latents are asked for than d_sae, or there are fewer tokens than one batch.
    """
    step_count = math.floor(spec.epochs * token_count / spec.batch_tokens)
    if step_count < 1:
        raise ImpossibleRun(
            "batch_tokens",
            f"{token_count} tokens times {spec.epochs:g} epochs are fewer than one batch of {spec.batch_tokens}; "
            "lower batch_tokens, raise epochs or store more activations",
        )
    d_sae = spec.d_sae or round((spec.expansion_factor or 0) * d_model)
    wrong = width_misfits(spec.model_dump(), d_sae)
    if wrong:
        raise ImpossibleRun(wrong[0].split()[0], f"{wrong[0]} (d_model {d_model})")
    run_tokens = step_count * spec.batch_tokens
    peak = spec.learning_rate or default_learning_rate(spec.optimiser, d_sae)
    default_warmup = min(step_count // 10, _LARGEST_DEFAULT_WARMUP)
    return Run(
        d_sae=d_sae,
        batch_tokens=spec.batch_tokens,
        step_count=step_count,
        peak_learning_rate=peak,
        warmup_steps=default_warmup if spec.warmup_steps is None else spec.warmup_steps,
        decay_steps=math.floor((spec.decay_fraction or 0.0) * step_count),
        dead_tokens=spec.dead_tokens or default_dead_tokens(spec, d_sae, run_tokens),
        l0_warmup_steps=_l0_warmup_steps(step_count, peak) if spec.architecture in _WARMED_UP else 0,
        widths=_widths(spec, d_sae),
    )


def default_learning_rate(optimiser: str, d_sae: int) -> float:
    """Returns the peak learning rate of a spec that gives none."""
    scale = math.sqrt(d_sae / 2**14) if optimiser in _SCALED_OPTIMISERS else 1.0
    return _RATES[optimiser] / scale


def default_dead_tokens(spec: CoderSpec, d_sae: int, run_tokens: int) -> int:
    """Returns after how many idle tokens a latent is dead, in a spec that does not say.

    Long enough that what is rare is not taken for dead, and short enough that the dead come back in time to learn: at
    most a quarter of the run and 10,000,000, Gao et al.'s.
    """
    active = spec.k or spec.target_l0 or DEFAULT_L0
    wanted = max(run_tokens // _DEAD_SHARE, round(_DEAD_INTERVALS * d_sae / active))
    return max(1, min(wanted, run_tokens // 4, _LARGEST_DEFAULT_DEAD_TOKENS))


def _l0_warmup_steps(step_count: int, learning_rate: float) -> int:
    longest = step_count - _L0_SETTLING / math.sqrt(learning_rate)
    return max(0, math.floor(min(_L0_WARMUP_SHARE * step_count, longest)))


def _widths(spec: CoderSpec, d_sae: int) -> tuple[int, ...]:
    if spec.architecture != "matryoshka_batch_topk" or spec.widths:
        return spec.widths
    least = _LEAST_NESTED_SPARSITY * (spec.k or 1)
    sparse = {d_sae // share for share in _NESTED_SHARES if d_sae // share >= least}
    return tuple(sorted(sparse | {max(1, d_sae // 2), d_sae}))
