"""The two files of a coder's folder, read and checked."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from sparse_coders.errors import MalformedCoder

CONFIG_FILE = "cfg.json"
_TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def read_config(folder: Path, weights_file: str) -> Mapping[str, Any]:
    """Returns the content of cfg.json. Raises MalformedCoder when it is missing or no JSON object."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise MalformedCoder(f"{path} does not exist; a coder is a folder with {CONFIG_FILE} and {weights_file}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise MalformedCoder(f"{path} is not JSON ({error}); write it with sparsify or `sparse_coders.save`") from error
    if not isinstance(config, dict):
        raise MalformedCoder(f"{path} holds a {type(config).__name__}; expected a JSON object with at least d_in")
    return config  # pyright: ignore[reportUnknownVariableType]


def read_tensors(path: Path, names: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Returns the tensors of a file, or only those of these names that it has.

    Raises:
        MalformedCoder: it is missing or damaged.
    """
    if not path.is_file():
        raise MalformedCoder(f"{path} does not exist; a coder is a folder with {CONFIG_FILE} and {path.name}")
    try:
        if names is None:
            return load_file(path)
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in names if name in file.keys()}  # noqa: SIM118  no mapping
    except (SafetensorError, KeyError) as error:  # KeyError: a type of numbers that torch does not have
        raise MalformedCoder(f"{path} is damaged or not safetensors: {error}") from error


def check_tensor(path: Path, name: str, found: Mapping[str, Tensor], shape: tuple[int, ...]) -> None:
    """Raises MalformedCoder when a tensor is missing, of another shape or type, or not finite."""
    if name not in found:
        raise MalformedCoder(f"{path} has no tensor {name!r}; it has {sorted(found)}")
    tensor = found[name]
    if tuple(tensor.shape) != shape:
        raise MalformedCoder(f"{path}: {name} is {list(tensor.shape)}; cfg.json says it must be {list(shape)}")
    if tensor.dtype not in _TYPES:
        raise MalformedCoder(f"{path}: {name} is {tensor.dtype}; expected float32, float16 or bfloat16")
    if not bool(torch.isfinite(tensor).all()):
        raise MalformedCoder(f"{path}: {name} holds values that are not finite; the training run diverged")


def count_of(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """Returns a whole number from 1 of the config. Raises MalformedCoder when it is none."""
    value = config.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise MalformedCoder(f"cfg.json: {name} is {value!r}; expected a whole number of at least 1")
    return value


def counts_of(config: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """Returns whole numbers from 1 of the config, none where it has none. Raises MalformedCoder for anything else."""
    values = config.get(name) or ()
    if not isinstance(values, list | tuple):
        raise MalformedCoder(f"cfg.json: {name} is {values!r}; expected a list of whole numbers")
    return tuple(count_of({name: value}, name) for value in cast("list[Any]", values))


def object_of(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Returns an object of the config, an empty one where it has none. Raises MalformedCoder for anything else."""
    value = config.get(name) or {}
    if not isinstance(value, dict):
        raise MalformedCoder(f"cfg.json: {name} is {value!r}; expected an object")
    return cast("Mapping[str, Any]", value)
