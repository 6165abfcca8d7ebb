"""The state of a training run in one safetensors file. Imports torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sae_trainer.core.curve import Point
from sae_trainer.scaling import Scaling

_CURVE = "run.curve"
_SEED = "run.permutation_seed"
_SCALING = "run.scaling"


@dataclass(frozen=True, slots=True)
class Saved:
    """Everything that the rest of a run depends on. The data cursor is the last point's token_count."""

    trainer: Mapping[str, Tensor]
    """Weights, the optimiser's tensors, counters; see `CoderTrainer.state`."""
    curve: Sequence[Point]
    permutation_seed: int
    scaling: Scaling


def write_checkpoint(path: Path, saved: Saved) -> None:
    """Writes a run's state."""
    run = {
        _CURVE: torch.tensor([list(point) for point in saved.curve], dtype=torch.float64),
        _SEED: torch.tensor(saved.permutation_seed, dtype=torch.int64),
        _SCALING: torch.tensor([saved.scaling.reads, saved.scaling.gives], dtype=torch.float64),
    }
    save_file({name: tensor.cpu().contiguous() for name, tensor in saved.trainer.items()} | run, path)


def read_checkpoint(path: Path) -> Saved | None:
    """Reads a run's state; None when the file is damaged, so that the run starts again rather than fails."""
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError):
        return None
    if not {_CURVE, _SEED, _SCALING} <= tensors.keys():
        return None
    curve = [Point(int(row[0]), int(row[1]), *row[2:]) for row in tensors.pop(_CURVE).tolist()]
    seed = int(tensors.pop(_SEED))
    return Saved(tensors, curve, seed, Scaling(*tensors.pop(_SCALING).tolist()))
