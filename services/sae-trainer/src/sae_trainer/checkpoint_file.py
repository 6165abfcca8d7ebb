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

_CURVE = "curve"
_SCALING = "scaling"
_TRAINER = "trainer."
_SEED = "permutation_seed"


@dataclass(frozen=True, slots=True)
class Saved:
    """Everything that the rest of a coder's run depends on. The data cursor is the last point's token_count."""

    trainer: Mapping[str, Tensor]
    """Weights, the optimiser's tensors, counters; see `CoderTrainer.state`."""
    curve: Sequence[Point]
    scaling: Scaling


def write_checkpoint(path: Path, saved: Sequence[Saved], permutation_seed: int) -> None:
    """Writes the state of coders that are trained together on tokens in one order."""
    tensors = {_SEED: torch.tensor(permutation_seed, dtype=torch.int64)}
    for number, one in enumerate(saved):
        own = {_TRAINER + name: tensor.cpu().contiguous() for name, tensor in one.trainer.items()}
        own[_CURVE] = torch.tensor([list(point) for point in one.curve], dtype=torch.float64)
        own[_SCALING] = torch.tensor([one.scaling.reads, one.scaling.gives], dtype=torch.float64)
        tensors |= {f"{number}.{name}": tensor for name, tensor in own.items()}
    save_file(tensors, path)


def read_checkpoint(path: Path, coder_count: int, permutation_seed: int) -> Sequence[Saved] | None:
    """Reads the state of so many coders.

    None when the file is damaged or of another order, so that the run starts again rather than fails.
    """
    try:
        tensors = load_file(path)
        if int(tensors[_SEED]) != permutation_seed:
            return None
        return [_one(tensors, f"{number}.") for number in range(coder_count)]
    except (SafetensorError, OSError, KeyError):
        return None


def _one(tensors: Mapping[str, Tensor], prefix: str) -> Saved:
    curve = [Point(int(row[0]), int(row[1]), *row[2:]) for row in tensors[prefix + _CURVE].tolist()]
    start = prefix + _TRAINER
    trainer = {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
    return Saved(trainer, curve, Scaling(*tensors[prefix + _SCALING].tolist()))
