"""Activations with a known sparse structure: each is a mean plus a few rows of a hidden dictionary."""

import torch
from torch import Tensor


def planted_dictionary(d_model: int, atoms: int) -> Tensor:
    """Returns [atoms, d_model]: the unit vectors that activations are made of."""
    dictionary = torch.randn(atoms, d_model, generator=torch.Generator().manual_seed(99))
    return dictionary / dictionary.norm(dim=1, keepdim=True)


def planted_activations(n: int, d_model: int, atoms: int, active: int, seed: int = 0) -> Tensor:
    """Returns [n, d_model] float32: 2 + the sum of `active` of `atoms` unit vectors with strengths in 1..2, + noise."""
    generator = torch.Generator().manual_seed(seed)
    dictionary = planted_dictionary(d_model, atoms)
    chosen = torch.rand(n, atoms, generator=generator).topk(active).indices
    strengths = 1 + torch.rand(n, active, generator=generator)
    signal = torch.zeros(n, atoms).scatter_(1, chosen, strengths) @ dictionary
    return 2 + signal + 0.01 * torch.randn(n, d_model, generator=generator)
