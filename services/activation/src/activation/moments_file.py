"""Moments of hookpoints as tensors: of one task for the summary, of a whole artifact for its readers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from activation.core.moments import Moments


def task_bytes(hookpoints: Sequence[str], moments: Mapping[str, Moments | None]) -> bytes:
    """Returns the safetensors of one task, hookpoints by number; those without a token are left out."""
    tensors: dict[str, Any] = {}
    for i, name in enumerate(hookpoints):
        found = moments[name]
        if found is not None:
            norms = [found.norm_mean, found.norm_squares, found.norm_min, found.norm_max]
            tensors[f"{i}.mean"], tensors[f"{i}.squares"] = found.mean, found.squares
            tensors[f"{i}.scalars"] = np.asarray([found.count, *norms], np.float64)
    return save(tensors)


def read_task(data: bytes, hookpoints: Sequence[str]) -> dict[str, Moments]:
    """Reads what `task_bytes` wrote."""
    tensors = load(data)
    found: dict[str, Moments] = {}
    for i, name in enumerate(hookpoints):
        if f"{i}.mean" in tensors:
            count, mean, squares, low, high = tensors[f"{i}.scalars"].tolist()
            found[name] = Moments(int(count), tensors[f"{i}.mean"], tensors[f"{i}.squares"], mean, squares, low, high)
    return found


def artifact_bytes(totals: Mapping[str, Moments]) -> bytes:
    """Returns `<hookpoint>.mean` and `<hookpoint>.variance`, float64 [d_model] each."""
    tensors: dict[str, Any] = {}
    for name, found in totals.items():
        tensors[f"{name}.mean"], tensors[f"{name}.variance"] = found.mean, found.variance
    return save(tensors)


def statistics(totals: Mapping[str, Moments]) -> dict[str, Any]:
    """Returns what the manifest says of each hookpoint: its width and the norms of its activations."""
    return {
        "d_model": {name: len(m.mean) for name, m in totals.items()},
        "norm": {
            name: {"mean": m.norm_mean, "std": m.norm_std, "min": m.norm_min, "max": m.norm_max}
            for name, m in totals.items()
        },
    }
