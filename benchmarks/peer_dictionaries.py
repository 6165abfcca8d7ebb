"""Whole runs of dictionary_learning's trainers (dictionary-learning==0.1.0), for each architecture that it has.

Its own code, start, losses and constants, with the learning rate, warm-up, decay and batches of ours. It pulls in a
model zoo; a folder with its files on PYTHONPATH is enough.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from sae_trainer.core.run_length import Run
from torch import Tensor


class PeerTrainer(NamedTuple):
    """A peer's coder in training."""

    step: Callable[[Tensor], None]
    rows: Callable[[], Tensor]
    """[d_sae, d_model]: its decoder."""


def trainer_of(name: str, d_model: int, active: int, run: Run, seed: int) -> PeerTrainer | None:
    """Returns the peer's trainer of an architecture; None where it has none, or is not installed."""
    try:
        from dictionary_learning import trainers
        from dictionary_learning.trainers.gdm import GatedSAETrainer
        from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer
    except ImportError:
        return None
    steps, warmup = run.step_count, run.warmup_steps
    common: dict[str, Any] = {"lr": run.peak_learning_rate, "warmup_steps": warmup, "device": "cpu"}
    common |= {"decay_start": steps - run.decay_steps, "seed": seed}
    penalised = {"sparsity_warmup_steps": warmup, **common}
    sizes = steps, d_model, run.d_sae
    makers: dict[str, Callable[[], Any]] = {
        "topk": lambda: trainers.TopKTrainer(*sizes, active, 0, "planted", **common),
        "batch_topk": lambda: trainers.BatchTopKTrainer(*sizes, active, 0, "planted", **common),
        "matryoshka_batch_topk": lambda: MatryoshkaBatchTopKTrainer(
            *sizes, active, 0, "planted", _shares(run.widths), **common
        ),
        "relu": lambda: trainers.StandardTrainer(*sizes, 0, "planted", **penalised),
        "gated": lambda: GatedSAETrainer(*sizes, 0, "planted", **penalised),
        "jumprelu": lambda: trainers.JumpReluTrainer(*sizes, 0, "planted", target_l0=active, **penalised),
    }
    if name not in makers:
        return None
    torch.manual_seed(seed)  # not all of its trainers take the seed that they are given
    trainer = makers[name]()
    count = iter(range(steps))
    return PeerTrainer(lambda x: trainer.update(next(count), x), lambda: _rows(trainer.ae, d_model))


def _shares(widths: Sequence[int]) -> list[float]:
    """Returns what each nested coder adds to the one before, as a share of all latents."""
    return [(high - low) / widths[-1] for low, high in pairwise((0, *widths))]


def _rows(coder: Any, d_model: int) -> Tensor:
    rows = coder.W_dec if hasattr(coder, "W_dec") else coder.decoder.weight
    return (rows if rows.shape[1] == d_model else rows.T).detach()
