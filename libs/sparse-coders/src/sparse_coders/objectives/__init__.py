"""Losses and their gradients, one file an architecture."""

from sparse_coders.objectives.batch_topk import BatchTopKObjective, MatryoshkaObjective
from sparse_coders.objectives.gated import GatedObjective
from sparse_coders.objectives.jumprelu import JumpReLUObjective
from sparse_coders.objectives.objective import Backward, Losses, Objective
from sparse_coders.objectives.relu import ReLUObjective
from sparse_coders.objectives.topk import TopKObjective
from sparse_coders.options import TrainerOptions
from sparse_coders.sparse_coder import SparseCoder
from sparse_coders.split import Split

__all__ = ["Backward", "Losses", "Objective", "objective_of"]

_OBJECTIVES: dict[str, type[Objective]] = {
    "batch_topk": BatchTopKObjective,
    "gated": GatedObjective,
    "jumprelu": JumpReLUObjective,
    "matryoshka_batch_topk": MatryoshkaObjective,
    "relu": ReLUObjective,
    "topk": TopKObjective,
}


def objective_of(coder: SparseCoder, options: TrainerOptions, split: Split | None = None) -> Objective:
    """Returns the loss that trains a coder of this architecture. Raises InvalidOption where options do not fit it."""
    options.check(coder)
    return _OBJECTIVES[coder.architecture](coder, options, split or Split())
