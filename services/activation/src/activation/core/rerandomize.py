"""Weights variants of Heap et al. 2501.17727, section 2."""

import numpy as np
import torch
from dragoman.ids import derived_seed
from torch import nn

_CHUNK = 1 << 20


def mean_and_variance(values: np.ndarray) -> tuple[float, float]:
    """Returns mean and population variance in float64, the same whatever the number of threads.

    Two passes over float64 chunks: numpy sums on one thread in a fixed order, torch does not.
    """
    flat = values.reshape(-1)
    chunks = [slice(at, at + _CHUNK) for at in range(0, len(flat), _CHUNK)]
    mean = sum(float(flat[c].sum(dtype=np.float64)) for c in chunks) / len(flat)
    square = sum(float(np.square(flat[c].astype(np.float64) - mean).sum()) for c in chunks)
    return mean, square / len(flat)


@torch.no_grad()
def rerandomize_including_embeddings(model: nn.Module, seed: int) -> None:
    """Redraws every parameter tensor i.i.d. from N(mean, variance) of that tensor, in place.

    Heap et al. 2501.17727, section 2, "re-randomized incl. embeddings". The generator of a tensor is seeded by
    `seed` and the tensor's name, so that the result does not depend on worker or order. Tied parameters are one
    tensor and stay tied; buffers are untouched; a constant tensor (variance 0, such as a fresh norm's) stays.
    """
    for name, parameter in model.named_parameters():
        values = parameter.detach().float().cpu().numpy()
        if not values.size:
            continue
        mean, variance = mean_and_variance(values)
        if variance == 0.0:
            continue
        generator = torch.Generator().manual_seed(derived_seed("weights", seed, name))
        drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
        parameter.copy_(drawn.mul_(variance**0.5).add_(mean))
