"""How a coder is trained, whatever its architecture."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sparse_coders.errors import InvalidOption
from sparse_coders.sparse_coder import SparseCoder

Optimiser = Literal["adam", "signum", "muon", "schedule_free"]
DecoderNorm = Literal["unit", "free"]
Frozen = Literal["none", "decoder", "all"]
Autocast = Literal["none", "bfloat16"]

_SELECTING = ("batch_topk", "matryoshka_batch_topk")
_PENALISED = ("relu", "jumprelu", "gated")
_RESAMPLED = ("relu", "gated")
_MOMENTUM: Mapping[Optimiser, float] = {"adam": 0.9, "signum": 0.95, "muon": 0.95, "schedule_free": 0.9}


@dataclass(frozen=True, slots=True)
class TrainerOptions:
    """Everything but the coder, the data and the learning rate. What an architecture has no use for is not looked at.

    Raises:
        InvalidOption: a value is out of its range.
    """

    k: int | None = None
    """BatchTopK and Matryoshka: mean number of latents of a token while training. A TopK coder has its own."""
    auxk_alpha: float = 1.0
    """Weight, in units of the FVU, of the auxiliary loss that revives dead latents, of TopK, BatchTopK, Matryoshka and
    JumpReLU; 0: none."""
    multi_topk: bool = False
    """TopK: adds an eighth of the FVU with 4 k latents (Gao et al., arXiv 2406.04093, section 4.2)."""
    dead_tokens: int = 10_000_000
    """A latent is dead when it did not fire in this many tokens."""
    resample_tokens: int | None = None
    """ReLU and Gated: every so many tokens, dead latents start anew from what is reconstructed worst (Bricken et al.
    2023)."""
    l1_coefficient: float = 0.1
    """ReLU and Gated: weight of the L1 penalty; with a target L0, where it starts."""
    l0_coefficient: float = 1e-3
    """JumpReLU: weight of the mean L0; with a target L0, where it starts."""
    target_l0: float | None = None
    """ReLU, Gated and JumpReLU: the weight is adapted until this many latents fire for a token; None: it is fixed."""
    l0_warmup_steps: int = 0
    """ReLU, Gated and JumpReLU with a target L0: steps over which the target falls from the L0 of the first batch."""
    jumprelu_bandwidth: float = 0.2
    """JumpReLU: width of the kernel through which thresholds are learnt, in standard deviations of the
    pre-activations of the first batch."""
    optimiser: Optimiser = "adam"
    beta1: float | None = None
    """Momentum; None: 0.9, and 0.95 of signum and Muon, as `momentum` says."""
    beta2: float = 0.999
    max_grad_norm: float | None = None
    """Gradients whose common L2 norm is above it are scaled down to it."""
    decoder_norm: DecoderNorm | None = None
    """Rows of W_dec at unit norm after each step, or free; None: unit for autoencoders, free for transcoders."""
    frozen: Frozen = "none"
    """Baselines: W_dec stays as it was made, or everything does (Korznikov et al., arXiv 2602.14111)."""
    ema_decay: float | None = None
    """The finished coder has the exponential moving average of its weights over steps."""
    autocast: Autocast = "none"
    """Type of the encoder's and decoder's products; weights, gradients and thresholds stay as they are."""
    seed: int = 0
    """Of resampling."""

    def __post_init__(self) -> None:
        """Checks each value by itself; `check` looks at them together with a coder."""
        _at_least("k", self.k, 1)
        _at_least("dead_tokens", self.dead_tokens, 1)
        _at_least("resample_tokens", self.resample_tokens, 1)
        _at_least("l0_warmup_steps", self.l0_warmup_steps, 0)
        for name in ("auxk_alpha", "l1_coefficient", "l0_coefficient"):
            _at_least(name, getattr(self, name), 0)
        for name in ("target_l0", "jumprelu_bandwidth", "max_grad_norm"):
            _above_0(name, getattr(self, name))
        for name in ("beta1", "beta2", "ema_decay"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise InvalidOption(f"{name} is {value}; it must be at least 0 and below 1")

    @property
    def momentum(self) -> float:
        """`beta1`, or the optimiser's own."""
        return _MOMENTUM[self.optimiser] if self.beta1 is None else self.beta1

    def check(self, coder: SparseCoder) -> None:
        """Raises InvalidOption when these options cannot train this coder."""
        if coder.architecture in _SELECTING and self.k is None:
            raise InvalidOption(f"a {coder.architecture} coder needs k, the mean number of latents of a token")
        if coder.architecture in _SELECTING and self.k is not None and self.k > coder.d_sae:
            raise InvalidOption(f"k is {self.k} but there are only {coder.d_sae} latents; choose k <= d_sae")
        if self.multi_topk and coder.architecture != "topk":
            raise InvalidOption(f"multi_topk is of TopK coders; this one is {coder.architecture}")
        if self.target_l0 is not None and coder.architecture not in _PENALISED:
            raise InvalidOption(f"target_l0 is of {', '.join(_PENALISED)}; of {coder.architecture}, k says how many")
        if self.target_l0 is not None and self.target_l0 >= coder.d_sae:
            raise InvalidOption(f"target_l0 is {self.target_l0} but there are only {coder.d_sae} latents")
        if self.resample_tokens is not None and coder.architecture not in _RESAMPLED:
            raise InvalidOption(
                f"resample_tokens is of {' and '.join(_RESAMPLED)}; of {coder.architecture}, auxk_alpha revives "
                "what is dead"
            )
        if self.resample_tokens is not None and self.frozen != "none":
            raise InvalidOption(f"frozen is {self.frozen}: resampling would change what is frozen; leave one out")
        if self.decoder_norm == "unit" and coder.transcoder:
            raise InvalidOption("a transcoder's W_dec starts at 0 and cannot have rows of unit norm; use free")

    def unit_decoder(self, coder: SparseCoder) -> bool:
        """Returns whether rows of W_dec are kept at unit norm."""
        return self.frozen == "none" and not coder.transcoder and self.decoder_norm != "free"


def _at_least(name: str, value: float | None, least: int) -> None:
    if value is not None and not (math.isfinite(value) and value >= least):
        raise InvalidOption(f"{name} is {value}; it must be at least {least}")


def _above_0(name: str, value: float | None) -> None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise InvalidOption(f"{name} is {value}; it must be above 0")
