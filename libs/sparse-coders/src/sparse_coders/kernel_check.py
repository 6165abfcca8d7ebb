"""Whether kernels do what plain PyTorch does: one step of both, from the same weights on the same tokens."""

import copy
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from sparse_coders.coder_trainer import CoderTrainer, StepReport
from sparse_coders.options import TrainerOptions
from sparse_coders.sparse_coder import CoderOptions
from sparse_coders.topk_coder import TopKCoder

_LATENTS, _TOKENS = 2048, 256
_LEARNING_RATE = 1e-3
_NOISE = 0.1
"""Of decoder rows, so that none is 0, as a transcoder's are at first, nor at unit norm already."""
_CLEAR = 1e-4
"""By how much of its strongest activation a token's k-th has to be above the next: else rounding may choose."""
_TOLERANCE = 1e-3
"""Of the change of a tensor, in the norm, and of losses."""
_WEIGHTS_TOLERANCE = 0.1
"""Adam's first step has the sign of the gradient, whatever its size: one that rounds to either side of 0 moves its
weight the other way. What the gradient was the moments tell, which are held to the finer tolerance."""


@torch.no_grad()
def disagreement(
    make: Callable[[TopKCoder, TrainerOptions], CoderTrainer],
    coder: TopKCoder,
    options: TrainerOptions,
    x: Float[Tensor, "n d_model"],
    y: Float[Tensor, "n d_out"],
) -> str | None:
    """Returns what kernels do otherwise than plain PyTorch, or why they cannot be run; None when they agree.

    The step is that of a copy of at most 2,048 latents on at most 256 tokens, so that little memory is taken and the
    coder stays as it is; some of the latents are dead, so that the auxiliary loss takes part.

    Args:
        make: Makes a trainer that uses the kernels.
        coder: On the device that shall train.
        options: How it shall be trained.
        x: What the coder reads: a batch as in `CoderTrainer.step`.
        y: What it shall give.
    """
    try:
        part = _part_of(coder)
        clear = _clear(part, x[:_TOKENS])
        x, y = x[:_TOKENS][clear], y[:_TOKENS][clear]
        ours, plain = make(copy.deepcopy(part), options), CoderTrainer(part, options)
        begin = _begun(plain)
        ours.load_state(begin)
        plain.load_state(begin)
        said, expected = ours.step(x, y, _LEARNING_RATE), plain.step(x, y, _LEARNING_RATE)
        return _difference(said, expected) or _difference_of_states(begin, ours.state(), plain.state())
    except Exception as error:  # noqa: BLE001  compilers and drivers raise what they like
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _part_of(coder: TopKCoder) -> TopKCoder:
    """Returns a copy of the first latents, with noise on the decoder."""
    d_sae = min(coder.d_sae, max(_LATENTS, 2 * coder.k))
    options: CoderOptions = {"d_out": coder.d_out, "transcoder": coder.transcoder, "device": coder.device}
    part = TopKCoder(coder.d_model, d_sae, coder.k, **options)
    for name, value in part.named_parameters():
        value.copy_(coder.get_parameter(name)[: len(value)])
    noise = torch.randn(part.W_dec.shape, generator=torch.Generator().manual_seed(0))
    part.W_dec.add_(noise.to(coder.device), alpha=_NOISE / coder.d_out**0.5)
    return part


def _clear(part: TopKCoder, x: Float[Tensor, "n d_model"]) -> Bool[Tensor, " n"]:
    """Returns the tokens of which it is beyond rounding which latents fire."""
    centred = x if part.transcoder else x - part.b_dec
    acts = torch.addmm(part.b_enc, centred, part.W_enc.T).relu_()
    strongest = F.pad(acts, (0, 1)).topk(part.k + 1).values
    last, following = strongest[:, -2], strongest[:, -1]
    return (last == 0) | (last - following > _CLEAR * strongest[:, 0])


def _begun(trainer: CoderTrainer) -> Mapping[str, Tensor]:
    """Returns a state before the first step in which some latents are dead, but no more than AuxK takes of a token."""
    state = {name: value.clone() for name, value in trainer.state().items()}
    dead = min(trainer.coder.d_sae // 4, max(1, trainer.coder.d_model // 2))
    state["idle_tokens"][:dead] = trainer.options.dead_tokens
    return state


def _difference(said: StepReport, expected: StepReport) -> str | None:
    for name in ("loss", "fvu", "l0", "dead_fraction"):
        ours, plain = getattr(said, name), getattr(expected, name)
        if not abs(ours - plain) <= _TOLERANCE * abs(plain):
            return f"{name} is {ours:.6g}, in plain PyTorch {plain:.6g}"
    return None


def _difference_of_states(
    begin: Mapping[str, Tensor], ours: Mapping[str, Tensor], plain: Mapping[str, Tensor]
) -> str | None:
    for name, before in begin.items():
        change = plain[name].double() - before
        distance = float((ours[name].double() - before - change).norm())
        tolerance = _WEIGHTS_TOLERANCE if name.startswith("weights.") else _TOLERANCE
        if not distance <= tolerance * float(change.norm()):
            return f"{name} changes by {float(change.norm()):.3g} in plain PyTorch, here {distance:.3g} off that"
    return None
