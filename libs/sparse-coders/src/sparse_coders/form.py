"""What a coder is apart from the values of its weights, and how one is put together from tensors."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sparse_coders.batch_topk_coder import BatchTopKCoder, MatryoshkaCoder
from sparse_coders.errors import MalformedCoder
from sparse_coders.gated_coder import GatedCoder
from sparse_coders.jumprelu_coder import JumpReLUCoder
from sparse_coders.relu_coder import ReLUCoder
from sparse_coders.sparse_coder import CoderOptions, SparseCoder
from sparse_coders.topk_coder import TopKCoder

_PLAIN = {kind.architecture: kind for kind in (ReLUCoder, JumpReLUCoder, BatchTopKCoder, GatedCoder)}
ARCHITECTURES = (TopKCoder.architecture, *_PLAIN, MatryoshkaCoder.architecture)
"""Every architecture that can be run."""
_MOST_WEIGHTS = 2**44
"""Of a matrix: 64 TiB."""


@dataclass(frozen=True, slots=True)
class Form:
    """Architecture and sizes."""

    architecture: str
    d_model: int
    d_sae: int
    d_out: int
    transcoder: bool = False
    skip: bool = False
    k: int | None = None
    """TopK only."""
    widths: tuple[int, ...] = ()
    """Matryoshka only."""


def form_of(coder: SparseCoder) -> Form:
    """Returns what a coder is."""
    return Form(
        architecture=coder.architecture,
        d_model=coder.d_model,
        d_sae=coder.d_sae,
        d_out=coder.d_out,
        transcoder=coder.transcoder,
        skip=coder.W_skip is not None,
        k=coder.k,
        widths=coder.widths if isinstance(coder, MatryoshkaCoder) else (),
    )


def empty_coder(form: Form) -> SparseCoder:
    """Returns a coder without memory for its parameters. Raises MalformedCoder for sizes that make none."""
    if not form.transcoder and (form.skip or form.d_out != form.d_model):
        raise MalformedCoder(
            f"cfg.json: no transcoder, but d_out is {form.d_out} with d_in {form.d_model} and skip_connection is "
            f"{form.skip}; only a transcoder has another width out or a skip connection"
        )
    if form.d_sae * max(form.d_model, form.d_out) > _MOST_WEIGHTS:
        raise MalformedCoder(
            f"cfg.json: d_in is {form.d_model}, d_out {form.d_out}, and there are {form.d_sae} latents; "
            "no coder has so many weights"
        )
    options = CoderOptions(d_out=form.d_out, transcoder=form.transcoder, skip=form.skip, device="meta")
    if form.architecture == TopKCoder.architecture:
        k = form.k or 0
        if k > form.d_sae:
            raise MalformedCoder(f"cfg.json: k is {k} but there are only {form.d_sae} latents")
        return TopKCoder(form.d_model, form.d_sae, k, **options)
    if form.architecture == MatryoshkaCoder.architecture:
        return MatryoshkaCoder(form.d_model, form.d_sae, widths=form.widths, **options)
    return _PLAIN[form.architecture](form.d_model, form.d_sae, **options)


def assembled(
    form: Form, tensors: Mapping[str, Tensor], dtype: torch.dtype | None, device: torch.device | str
) -> SparseCoder:
    """Returns a coder with these parameters.

    Args:
        form: What it is.
        tensors: Its parameters by name, of the right shapes.
        dtype: Type of the parameters; None keeps that of W_enc.
        device: Where to put them.
    """
    coder = empty_coder(form)
    dtype = dtype or tensors["W_enc"].dtype
    # Cloned, so that the weights are aligned in memory and do not hang on the mapped file.
    state = {name: tensors[name].detach().to(device, dtype, copy=True).contiguous() for name in _names(coder)}
    coder.load_state_dict(state, assign=True)
    return coder


def shapes(form: Form) -> Mapping[str, tuple[int, ...]]:
    """Returns the shape of each parameter by name."""
    return {name: tuple(value.shape) for name, value in empty_coder(form).named_parameters()}


def _names(coder: SparseCoder) -> list[str]:
    return [name for name, _ in coder.named_parameters()]
