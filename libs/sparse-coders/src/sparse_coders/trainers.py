"""Which trainer a coder gets."""

from sparse_coders.coder_trainer import CoderTrainer
from sparse_coders.options import TrainerOptions
from sparse_coders.sparse_coder import SparseCoder


def trainer_of(coder: SparseCoder, options: TrainerOptions) -> CoderTrainer:
    """Returns the fastest trainer for this coder and these options; all have the methods and states of CoderTrainer.

    Raises:
        InvalidOption: the options do not fit the coder.
    """
    return CoderTrainer(coder, options)
