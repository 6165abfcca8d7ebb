"""Which trainer a coder gets."""

import importlib.util
from typing import Literal, TypeGuard

import torch

from sparse_coders.coder_trainer import CoderTrainer
from sparse_coders.options import TrainerOptions
from sparse_coders.sparse_coder import SparseCoder
from sparse_coders.topk_coder import TopKCoder

KernelChoice = Literal["auto", "reference", "compiled", "triton"]


def trainer_of(coder: SparseCoder, options: TrainerOptions, kernels: KernelChoice = "auto") -> CoderTrainer:
    """Returns the fastest trainer for this coder and these options; all have the methods and states of CoderTrainer.

    Args:
        coder: On the device that shall train.
        options: How.
        kernels: What may take the steps of a TopK coder with Adam: "auto", Triton's kernels on a GPU and compiled ones
            on a CPU; "triton" or "compiled", those and no others; "reference", plain PyTorch, which trains too
            whatever these cannot. `CoderTrainer.kernels` says what it came to.

    Raises:
        InvalidOption: the options do not fit the coder.
    """
    if not has_kernels(coder, options):
        return CoderTrainer(coder, options)
    on_gpu = coder.device.type == "cuda"
    wanted = ("triton" if on_gpu else "compiled") if kernels == "auto" else kernels
    if wanted == "triton" and coder.W_skip is None and importlib.util.find_spec("triton") is not None:
        from sparse_coders.triton_trainer import GuardedTritonTrainer

        return GuardedTritonTrainer(coder, options)
    if wanted == "compiled" and coder.device.type == "cpu" and has_numba():
        from sparse_coders.fused_trainer import FusedTopKTrainer  # reads Numba, which takes half a second

        return FusedTopKTrainer(coder, options)
    return CoderTrainer(coder, options)


def has_kernels(coder: SparseCoder, options: TrainerOptions) -> TypeGuard[TopKCoder]:
    """Returns whether there are kernels, for one device or another, that train this coder in this way."""
    return (
        isinstance(coder, TopKCoder)
        and coder.dtype == torch.float32
        and (options.optimiser, options.frozen, options.autocast) == ("adam", "none", "none")
        and not options.multi_topk
        and (options.max_grad_norm, options.ema_decay, options.resample_tokens) == (None, None, None)
    )


def has_numba() -> bool:
    """Numba has no wheels for some platforms, where coders are trained and run in plain PyTorch."""
    return importlib.util.find_spec("numba") is not None
