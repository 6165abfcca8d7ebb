"""Activation shards read from disk and checked. Imports torch."""

from dataclasses import dataclass
from pathlib import Path

import torch
from dragoman.artifacts import Artifact, PartInfo
from dragoman.errors import DataLoss, UserTaskError
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sae_trainer.source import token_count_of


@dataclass(frozen=True, slots=True)
class Tokens:
    """Neighbouring tokens of one shard."""

    activations: Float[Tensor, "n d_model"]
    """As stored: float32, bfloat16 or float16; all finite."""
    rows: Int[Tensor, " n"]
    """Token row that each comes from."""


def read_tokens(artifact: Artifact, part: PartInfo, start: int, stop: int, d_model: int) -> Tokens:
    """Reads tokens start:stop of a shard.

    Raises:
        DataLoss: the shard is not what the manifest says.
        UserTaskError: an activation is infinite or not a number.
    """
    path = artifact.download(part.name)
    expected = [token_count_of(part), d_model]
    try:
        with safe_open(path, framework="pt") as file:
            stored = file.get_slice("activations")
            if stored.get_shape() != expected:
                raise DataLoss(f"{artifact.id}: {part.name} is {stored.get_shape()}, its manifest says {expected}")
            tokens = Tokens(stored[start:stop], file.get_slice("rows")[start:stop])
    except SafetensorError as error:
        raise DataLoss(f"{artifact.id}: {part.name} ({Path(path).name}) cannot be read: {error}") from error
    _check_finite(tokens, artifact, part, start)
    return tokens


def _check_finite(tokens: Tokens, artifact: Artifact, part: PartInfo, start: int) -> None:
    wrong = ~torch.isfinite(tokens.activations).all(dim=1)
    if not bool(wrong.any()):
        return
    first = int(wrong.nonzero()[0, 0])
    raise UserTaskError(
        f"{artifact.id}: {part.name} holds activations that are not finite, {int(wrong.sum())} tokens of "
        f"{len(wrong)}, the first at token {start + first} (row {int(tokens.rows[first])}); the model's forward pass "
        "overflowed: make the activations with dtype float32 or bfloat16",
        reason="NON_FINITE_ACTIVATIONS",
    )
