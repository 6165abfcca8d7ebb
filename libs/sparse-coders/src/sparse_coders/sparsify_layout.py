"""Coders on disk, in the layout of eai-sparsify 1.3.3: a folder with `cfg.json` and `sae.safetensors`.

What sparsify cannot say is said in further fields and tensors, see the section `coder` of docs/data-flow.md.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from sparse_coders.coder_files import CONFIG_FILE, check_tensor, count_of, counts_of, read_config, read_tensors
from sparse_coders.errors import MalformedCoder, UnsupportedCoder
from sparse_coders.form import ARCHITECTURES, Form, assembled, form_of, shapes
from sparse_coders.sparse_coder import SparseCoder

WEIGHTS_FILE = "sae.safetensors"
_STORED: Mapping[str, str] = {"W_enc": "encoder.weight", "b_enc": "encoder.bias"}
"""Parameters that have another name in the file."""
_DEFAULT_EXPANSION = 32
_DEFAULT_K = 32


def save(coder: SparseCoder, folder: Path | str) -> None:
    """Writes a coder so that `load` reads it, and `sparsify.SparseCoder.load_from_disk` where sparsify has its like.

    Sparsify has TopK coders whose output is as wide as their input: autoencoders and transcoders, with or without a
    skip connection.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {_STORED.get(n, n): p.detach().cpu().contiguous() for n, p in coder.named_parameters()}
    # Sparsify takes the type of all tensors from the first one, so all have one type.
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    (folder / CONFIG_FILE).write_text(json.dumps(config_of(coder)), encoding="utf-8")


def save_sparsify(coder: SparseCoder, folder: Path | str) -> None:
    """Writes a coder so that `sparsify.SparseCoder.load_from_disk(folder)` loads it and gives the same.

    Raises:
        UnsupportedCoder: sparsify has no coder like it.
    """
    form = form_of(coder)
    if form.architecture != "topk" or form.d_out != form.d_model:
        raise UnsupportedCoder(
            "sparsify has only topk coders whose output is as wide as their input, this is a "
            f"{form.architecture} coder from {form.d_model} to {form.d_out}; write it in SAELens's layout"
        )
    save(coder, folder)


def config_of(coder: SparseCoder) -> dict[str, str | int | bool | list[int]]:
    """Returns the content of cfg.json: every field of sparsify's SparseCoderConfig, d_in, and what it has no field for.

    `normalize_decoder` speaks of training only.
    """
    form = form_of(coder)
    config: dict[str, str | int | bool | list[int]] = {
        "activation": form.architecture,
        "expansion_factor": max(1, form.d_sae // form.d_model),
        "normalize_decoder": True,
        "num_latents": form.d_sae,
        "k": form.k or _DEFAULT_K,
        "multi_topk": False,
        "skip_connection": form.skip,
        "transcode": form.transcoder,
        "d_in": form.d_model,
    }
    if form.k is None:
        del config["k"]
    if form.d_out != form.d_model:
        config["d_out"] = form.d_out
    if form.widths:
        config["widths"] = list(form.widths)
    return config


def load(
    folder: Path | str, *, dtype: torch.dtype | None = torch.float32, device: torch.device | str = "cpu"
) -> SparseCoder:
    """Returns the coder in a folder.

    Args:
        folder: Holds cfg.json and sae.safetensors.
        dtype: Type of the loaded weights; None keeps the type of the file.
        device: Where to put them.

    Raises:
        MalformedCoder: a file is missing or damaged, a tensor is missing, of the wrong shape or not finite, k > d_sae.
        UnsupportedCoder: signed latents or an activation that cannot be run.
    """
    folder = Path(folder)
    form = _form(read_config(folder, WEIGHTS_FILE))
    path = folder / WEIGHTS_FILE
    found = read_tensors(path)
    tensors: dict[str, Tensor] = {}
    for name, shape in shapes(form).items():
        stored = _STORED.get(name, name)
        check_tensor(path, stored, found, shape)
        tensors[name] = found[stored]
    if "W_skip" in found and not form.skip:
        raise MalformedCoder(f"{path} holds W_skip, but cfg.json says skip_connection false; set it to true")
    return assembled(form, tensors, dtype, device)


def load_matrix(folder: Path | str, name: Literal["W_enc", "W_dec"]) -> Float[Tensor, "d_sae d"]:
    """Returns one matrix of the coder in a folder as float32, a row a latent, and reads nothing else.

    Raises:
        MalformedCoder: a file is missing or damaged, or the matrix is of the wrong shape or not finite.
    """
    folder = Path(folder)
    form, path, stored = _form(read_config(folder, WEIGHTS_FILE)), folder / WEIGHTS_FILE, _STORED.get(name, name)
    found = read_tensors(path, [stored])
    check_tensor(path, stored, found, shapes(form)[name])
    return found[stored].float()


def _form(config: Mapping[str, Any]) -> Form:
    """Returns what cfg.json says, with sparsify's defaults. Raises MalformedCoder or UnsupportedCoder."""
    architecture = config.get("activation", "topk")
    if architecture not in ARCHITECTURES:
        known = ", ".join(repr(name) for name in ARCHITECTURES)
        raise UnsupportedCoder(f"cfg.json: activation is {architecture!r}; only {known} can be run")
    if config.get("signed"):
        raise UnsupportedCoder("cfg.json: signed is set; latents with negative activations cannot be run")
    d_model = count_of(config, "d_in")
    # sparsify writes num_latents 0 for "expansion_factor times d_in".
    d_sae = count_of(config, "num_latents") if config.get("num_latents") else 0
    return Form(
        architecture=architecture,
        d_model=d_model,
        d_sae=d_sae or d_model * count_of(config, "expansion_factor", _DEFAULT_EXPANSION),
        d_out=count_of(config, "d_out", d_model),
        transcoder=bool(config.get("transcode")),
        skip=bool(config.get("skip_connection")),
        k=count_of(config, "k", _DEFAULT_K) if architecture == "topk" else None,
        widths=counts_of(config, "widths"),
    )
