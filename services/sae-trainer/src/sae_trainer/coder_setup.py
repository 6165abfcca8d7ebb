"""The coder that a spec asks for, before its first step, and the options of its trainer. Imports torch."""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from sparse_coders import SparseCoder, TrainerOptions
from sparse_coders.form import Form, empty_coder
from sparse_coders.initial import Initialisation, initial_coder_of
from torch import Tensor

from sae_trainer.core.architectures import BASELINES
from sae_trainer.core.run_length import Run
from sae_trainer.spec import CoderSpec

_FIRST_L0_PENALTY = 0.1
_FROZEN: Mapping[str, Literal["decoder", "all"]] = {"frozen_decoder": "decoder", "random": "all"}


def options_of(spec: CoderSpec, run: Run, seed: int) -> TrainerOptions:
    """Returns how the coder is trained; `seed` is that of resampling."""
    given = {name: getattr(spec, name) for name in ("l1_coefficient", "jumprelu_bandwidth", "beta2")}
    given["l0_coefficient"] = first_l0_coefficient(spec)
    return TrainerOptions(
        k=spec.k,
        auxk_alpha=spec.auxk_alpha or 0.0,
        multi_topk=spec.multi_topk,
        dead_tokens=run.dead_tokens,
        resample_tokens=spec.resample_tokens,
        target_l0=spec.target_l0,
        l0_warmup_steps=run.l0_warmup_steps,
        optimiser=spec.optimiser,
        beta1=spec.beta1,
        max_grad_norm=spec.max_grad_norm,
        decoder_norm=spec.decoder_norm,
        frozen=_FROZEN.get(spec.architecture, "none"),
        ema_decay=spec.ema_decay,
        autocast=spec.autocast,
        seed=seed % 2**63,
        **{name: value for name, value in given.items() if value is not None},
    )


def first_l0_coefficient(spec: CoderSpec) -> float | None:
    """Returns the weight of JumpReLU's L0 penalty, or where it starts: a tenth of the variance at the target L0.

    Thresholds start where the target fires. A weight that had to grow first would let ten times as many fire by then.
    """
    if spec.architecture != "jumprelu" or spec.l0_coefficient is not None or spec.target_l0 is None:
        return spec.l0_coefficient
    return _FIRST_L0_PENALTY / spec.target_l0


def form_of(spec: CoderSpec, run: Run, d_model: int, d_out: int) -> Form:
    """Returns the architecture and the sizes of the coder; baselines are TopK coders."""
    architecture = "topk" if spec.architecture in BASELINES else spec.architecture
    return Form(
        architecture=architecture,
        d_model=d_model,
        d_sae=run.d_sae,
        d_out=d_out,
        transcoder=spec.transcoder,
        skip=spec.skip,
        k=spec.k if architecture == "topk" else None,
        widths=run.widths,
    )


def blank_coder(form: Form) -> SparseCoder:
    """Returns a coder whose parameters are 0, for a trainer to load a checkpoint into."""
    coder = empty_coder(form).to_empty(device="cpu")
    with torch.no_grad():
        for parameter in coder.parameters():
            parameter.zero_()
    return coder


def first_coder(
    spec: CoderSpec, form: Form, x: Float[Tensor, "n d_model"], y: Float[Tensor, "n d_out"], seed: int
) -> SparseCoder:
    """Returns the coder that training starts from: the same for the same sample and seed."""
    decoder = None if spec.transcoder else "tied" if spec.tied_start else "random"
    start = Initialisation(decoder=decoder, b_dec=spec.bias_start, l0=spec.target_l0)
    return initial_coder_of(form, x, y, seed % 2**63, start)
