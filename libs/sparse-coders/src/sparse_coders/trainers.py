"""Which trainer a coder gets."""

import importlib.util

from sparse_coders.coder_trainer import CoderTrainer
from sparse_coders.options import TrainerOptions
from sparse_coders.sparse_coder import SparseCoder
from sparse_coders.topk_coder import TopKCoder


def trainer_of(coder: SparseCoder, options: TrainerOptions) -> CoderTrainer:
    """Returns the fastest trainer for this coder and these options; all have the methods and states of CoderTrainer.

    Raises:
        InvalidOption: the options do not fit the coder.
    """
    if isinstance(coder, TopKCoder) and has_numba():
        from sparse_coders import fused_trainer  # reads Numba, which takes half a second

        if fused_trainer.trains(coder, options):
            return fused_trainer.FusedTopKTrainer(coder, options)
    return CoderTrainer(coder, options)


def has_numba() -> bool:
    """Numba has no wheels for some platforms, where coders are trained and run in plain PyTorch."""
    return importlib.util.find_spec("numba") is not None
