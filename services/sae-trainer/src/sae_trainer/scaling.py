"""Normalisation of a coder's inputs by one factor, and the coder that needs none of it. Imports torch."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from sparse_coders import SparseCoder
from torch import Tensor

_SMALLEST_NORM = 1e-30


@dataclass(frozen=True, slots=True)
class Scaling:
    """A coder is trained on reads * x and gives * y."""

    reads: float
    gives: float


def scaling_of(x: Float[Tensor, "n d_model"], y: Float[Tensor, "n d_out"]) -> Scaling:
    """Returns the factors that bring the mean norm of x and y to the square root of their width."""
    return Scaling(_factor(x), _factor(x if y is x else y))


@torch.no_grad()
def fold(coder: SparseCoder, scaling: Scaling) -> None:
    """Changes a coder, in place, to what it computes on activations that are not scaled.

    All architectures are positively homogeneous in pre-activations and thresholds together, so latents come out divided
    by `gives` and rows of W_dec stay as they are: in x' = reads * x, gives * y = coder(x') divides by `gives`.
    """
    ratio = scaling.reads / scaling.gives
    for name, parameter in coder.named_parameters():
        if name in ("W_enc", "W_skip"):
            parameter.mul_(ratio)
        elif name not in ("W_dec", "r_mag"):  # biases and thresholds
            parameter.div_(scaling.gives)


def _factor(x: Float[Tensor, "n d"]) -> float:
    norm = float(torch.linalg.vector_norm(x.double(), dim=1).mean())
    return math.sqrt(x.shape[1]) / norm if norm > _SMALLEST_NORM else 1.0
