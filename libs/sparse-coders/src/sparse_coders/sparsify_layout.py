"""Coders on disk, in the layout of eai-sparsify 1.3.3: a folder with `cfg.json` and `sae.safetensors`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from sparse_coders.errors import MalformedCoder, UnsupportedCoder
from sparse_coders.topk_coder import TopKCoder

CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae.safetensors"
_TENSORS: Mapping[str, str] = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "W_dec", "b_dec": "b_dec"}
_DEFAULT_EXPANSION = 32
_DEFAULT_K = 32
_UNSUPPORTED = ("transcode", "skip_connection", "signed")


def save(coder: TopKCoder, folder: Path | str) -> None:
    """Writes a coder so that `sparsify.SparseCoder.load_from_disk(folder)` loads it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parameters = dict(coder.named_parameters())
    tensors = {stored: parameters[name].detach().cpu().contiguous() for name, stored in _TENSORS.items()}
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    (folder / CONFIG_FILE).write_text(json.dumps(config_of(coder)), encoding="utf-8")


def config_of(coder: TopKCoder) -> dict[str, str | int | bool]:
    """Returns the content of cfg.json: every field of sparsify's SparseCoderConfig, and d_in."""
    return {
        "activation": "topk",
        "expansion_factor": max(1, coder.d_sae // coder.d_model),
        "normalize_decoder": True,
        "num_latents": coder.d_sae,
        "k": coder.k,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": coder.d_model,
    }


def load(
    folder: Path | str, *, dtype: torch.dtype | None = torch.float32, device: torch.device | str = "cpu"
) -> TopKCoder:
    """Returns the coder in a folder.

    Args:
        folder: Holds cfg.json and sae.safetensors.
        dtype: Type of the loaded weights; None keeps the type of the file.
        device: Where to put them.

    Raises:
        MalformedCoder: a file is missing or damaged, a tensor is missing, of the wrong shape or not finite, k > d_sae.
        UnsupportedCoder: a transcoder, a skip connection, signed latents or an activation other than topk.
    """
    folder = Path(folder)
    d_model, d_sae, k = _sizes(_read_config(folder / CONFIG_FILE))
    tensors = _read_tensors(folder / WEIGHTS_FILE, d_model, d_sae)
    with torch.device("meta"):
        coder = TopKCoder(d_model, d_sae, k)
    # Cloned, so that the weights are aligned in memory and do not hang on the mapped file.
    state = {name: tensors[stored].to(device, dtype, copy=True) for name, stored in _TENSORS.items()}
    coder.load_state_dict(state, assign=True)
    return coder


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MalformedCoder(f"{path} does not exist; a coder is a folder with {CONFIG_FILE} and {WEIGHTS_FILE}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MalformedCoder(f"{path} is not JSON ({error}); write it with sparsify or `sparse_coders.save`") from error
    if not isinstance(config, dict):
        raise MalformedCoder(f"{path} holds a {type(config).__name__}; expected a JSON object with at least d_in")
    return config  # pyright: ignore[reportUnknownVariableType]


def _sizes(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """Returns d_model, d_sae and k, with sparsify's defaults. Raises MalformedCoder or UnsupportedCoder."""
    activation = config.get("activation", "topk")
    if activation != "topk":
        raise UnsupportedCoder(f"cfg.json: activation is {activation!r}; only 'topk' can be run")
    for name in _UNSUPPORTED:
        if config.get(name):
            raise UnsupportedCoder(f"cfg.json: {name} is set; only plain TopK autoencoders can be run")
    d_model = _count(config, "d_in")
    k = _count(config, "k", _DEFAULT_K)
    # sparsify writes num_latents 0 for "expansion_factor times d_in".
    d_sae = _count(config, "num_latents") if config.get("num_latents") else 0
    d_sae = d_sae or d_model * _count(config, "expansion_factor", _DEFAULT_EXPANSION)
    if k > d_sae:
        raise MalformedCoder(f"cfg.json: k is {k} but there are only {d_sae} latents")
    return d_model, d_sae, k


def _count(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = config.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise MalformedCoder(f"cfg.json: {name} is {value!r}; expected a whole number of at least 1")
    return value


def _read_tensors(path: Path, d_model: int, d_sae: int) -> dict[str, Tensor]:
    expected = {
        "encoder.weight": (d_sae, d_model),
        "encoder.bias": (d_sae,),
        "W_dec": (d_sae, d_model),
        "b_dec": (d_model,),
    }
    if not path.is_file():
        raise MalformedCoder(f"{path} does not exist; a coder is a folder with {CONFIG_FILE} and {WEIGHTS_FILE}")
    try:
        found: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise MalformedCoder(f"{path} is damaged or not safetensors: {error}") from error
    for name, shape in expected.items():
        _check_tensor(path, name, found, shape)
    return found


def _check_tensor(path: Path, name: str, found: Mapping[str, Tensor], shape: tuple[int, ...]) -> None:
    if name not in found:
        raise MalformedCoder(f"{path} has no tensor {name!r}; it has {sorted(found)}")
    tensor = found[name]
    if tuple(tensor.shape) != shape:
        raise MalformedCoder(f"{path}: {name} is {list(tensor.shape)}; cfg.json says it must be {list(shape)}")
    if not tensor.is_floating_point():
        raise MalformedCoder(f"{path}: {name} is {tensor.dtype}; expected float32, float16 or bfloat16")
    if not bool(tensor.isfinite().all()):
        raise MalformedCoder(f"{path}: {name} holds values that are not finite; the training run diverged")
