"""Weights variants of Heap et al. 2501.17727, section 2, that redraw trained weights."""

from collections.abc import Collection

import numpy as np
import torch
from dragoman.ids import derived_seed
from jaxtyping import Float32
from torch import nn

_CHUNK = 1 << 18


def mean_and_variance(values: np.ndarray) -> tuple[float, float]:
    """Returns mean and population variance in float64, the same whatever the number of threads.

    Two passes over float64 chunks: numpy sums on one thread in a fixed order, torch does not.
    """
    flat = values.reshape(-1)
    chunks = [slice(at, at + _CHUNK) for at in range(0, len(flat), _CHUNK)]
    mean = sum(float(flat[c].sum(dtype=np.float64)) for c in chunks) / len(flat)
    square = 0.0
    for chunk in chunks:
        difference = flat[chunk].astype(np.float64)
        difference -= mean
        square += float(np.square(difference, out=difference).sum())
    return mean, square / len(flat)


@torch.no_grad()
def rerandomize(model: nn.Module, seed: int, *, keep: Collection[nn.Parameter] = ()) -> None:
    """Redraws every parameter tensor but those of `keep` i.i.d. from N(mean, variance) of that tensor, in place.

    Heap et al. 2501.17727, section 2: "re-randomized incl. embeddings" keeps none, "excl. embeddings" keeps
    `embedding_parameters(model)`. The generator of a tensor is seeded by `seed` and the tensor's name and drawn on
    the CPU by numpy, whose normal deviates are the same on every processor, so that the result depends on no worker,
    device, order or number of threads. Tied parameters are one tensor and stay tied; buffers are untouched; a
    constant tensor (variance 0, such as a fresh norm's) stays.
    """
    kept = {id(parameter) for parameter in keep}
    for name, parameter in model.named_parameters():
        if id(parameter) in kept or not parameter.numel():
            continue
        mean, variance = mean_and_variance(parameter.detach().float().cpu().numpy())
        if variance > 0.0:
            drawn = _normal(derived_seed("weights", seed, name), parameter.numel())
            drawn *= np.float32(variance**0.5)
            drawn += np.float32(mean)
            parameter.copy_(torch.from_numpy(drawn).reshape(parameter.shape))


def embedding_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Returns the parameters of a language model's token embedding and unembedding (no positions)."""
    modules = [model.get_input_embeddings(), model.get_output_embeddings()]  # type: ignore[operator]
    return [parameter for module in modules if isinstance(module, nn.Module) for parameter in module.parameters()]


def _normal(seed: int, count: int) -> Float32[np.ndarray, " count"]:
    return np.random.Generator(np.random.Philox(seed)).standard_normal(count, dtype=np.float32)
