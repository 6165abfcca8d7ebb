"""Coders on disk, in the layout of SAELens 6: a folder with `cfg.json` and `sae_weights.safetensors`.

W_enc is stored as [d_model, d_sae]. What its coders do and ours do not is folded into the weights: reading x where ours
reads x - b_dec (`apply_b_dec_to_input` false), comparing latents after multiplication by the norm of their decoder row
(`rescale_acts_by_decoder_norm`), reading activations times a constant (`expected_average_only_in`), or a residual
stream that TransformerLens had centred (`center_writing_weights`). A scale that differs from token to token
cannot be folded and is refused.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from sparse_coders.coder_files import (
    CONFIG_FILE,
    check_tensor,
    count_of,
    counts_of,
    object_of,
    read_config,
    read_tensors,
)
from sparse_coders.errors import MalformedCoder, UnsupportedCoder
from sparse_coders.form import Form, assembled, form_of, shapes
from sparse_coders.saelens_folds import folded, folds_of
from sparse_coders.sparse_coder import SparseCoder

WEIGHTS_FILE = "sae_weights.safetensors"
_VERSION = "6.54.12"

_READ: Mapping[str, tuple[str, bool, bool]] = {
    "standard": ("relu", False, False),
    "topk": ("topk", False, False),
    "jumprelu": ("jumprelu", False, False),
    "gated": ("gated", False, False),
    "batchtopk": ("batch_topk", False, False),
    "matryoshka_batchtopk": ("matryoshka_batch_topk", False, False),
    "transcoder": ("relu", True, False),
    "skip_transcoder": ("relu", True, True),
    "jumprelu_transcoder": ("jumprelu", True, False),
    "jumprelu_skip_transcoder": ("jumprelu", True, True),
}
"""SAELens's architectures: ours, transcoder, skip connection."""
_WRITTEN: Mapping[str, str] = {
    "relu": "standard",
    "topk": "topk",
    "jumprelu": "jumprelu",
    "gated": "gated",
    # SAELens has no class to run these; it saves them as JumpReLU, as we do.
    "batch_topk": "jumprelu",
    "matryoshka_batch_topk": "jumprelu",
}
_TRAINED_AS: Mapping[str, str] = {"batchtopk": "batch_topk", "matryoshka_batchtopk": "matryoshka_batch_topk"}


def save_saelens(
    coder: SparseCoder, folder: Path | str, *, metadata: Mapping[str, str | int | bool] | None = None
) -> None:
    """Writes a coder so that `sae_lens.SAE.load_from_disk(folder)` loads it and gives the same.

    Args:
        coder: What to write.
        folder: Made when it is not there.
        metadata: Fields of SAELens's metadata: `model_name`, `hook_name`, `hook_name_out`, `prepend_bos`, ...

    Raises:
        UnsupportedCoder: a transcoder of an architecture that SAELens has only for autoencoders.
    """
    architecture = _saelens_name(form_of(coder))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {n: p.detach().cpu().contiguous() for n, p in coder.named_parameters()}
    tensors["W_enc"] = tensors["W_enc"].T.contiguous()
    if "threshold" in tensors:
        tensors["threshold"] = tensors["threshold"].expand(coder.d_sae).contiguous()
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    config = _written_config(coder, architecture, metadata or {})
    (folder / CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")


def _saelens_name(form: Form) -> str:
    written = _WRITTEN[form.architecture]
    if not form.transcoder:
        return written
    name = {"standard": "", "jumprelu": "jumprelu_"}.get(written)
    if name is None:
        raise UnsupportedCoder(
            f"SAELens has no transcoder of the architecture {form.architecture}, only relu and jumprelu ones; "
            "write it in sparsify's layout"
        )
    return f"{name}skip_transcoder" if form.skip else f"{name}transcoder"


def _written_config(
    coder: SparseCoder, architecture: str, metadata: Mapping[str, str | int | bool]
) -> Mapping[str, Any]:
    form = form_of(coder)
    # Our activations are those of the model as it is: TransformerLens must not centre what it writes.
    unprocessed = {"center_writing_weights": False}
    said: dict[str, Any] = {"sae_lens_version": _VERSION, "model_from_pretrained_kwargs": unprocessed, **metadata}
    trained_as = {ours: theirs for theirs, ours in _TRAINED_AS.items()}.get(form.architecture)
    if trained_as:
        said["training_architecture"] = trained_as
        said["training_architecture_details"] = {"matryoshka_widths": list(form.widths)} if form.widths else {}
    config: dict[str, Any] = {
        "architecture": architecture,
        "d_in": form.d_model,
        "d_sae": form.d_sae,
        "dtype": str(coder.dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": not form.transcoder,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": said,
    }
    if form.transcoder:
        config["d_out"] = form.d_out
    if form.k is not None:
        config |= {"k": form.k, "rescale_acts_by_decoder_norm": False}
    return config


def load_saelens(
    folder: Path | str, *, dtype: torch.dtype | None = torch.float32, device: torch.device | str = "cpu"
) -> SparseCoder:
    """Returns the coder in a folder.

    Args:
        folder: Holds cfg.json and sae_weights.safetensors.
        dtype: Type of the loaded weights; None keeps the type of the file.
        device: Where to put them.

    Raises:
        MalformedCoder: a file is missing or damaged, a tensor is missing, of the wrong shape or not finite, k > d_sae.
        UnsupportedCoder: an architecture or a normalisation that cannot be run.
    """
    folder = Path(folder)
    config = _current(read_config(folder, WEIGHTS_FILE))
    path = folder / WEIGHTS_FILE
    found = _renamed(read_tensors(path), path)
    form = _with_training_form(_form(config), config, found)
    tensors = _checked(path, form, found)
    dtype = dtype or tensors["W_enc"].dtype
    folds = folds_of(config, folder, form.transcoder)
    if folds.any:
        tensors = folded({name: value.double() for name, value in tensors.items()}, form, folds)
    return assembled(form, tensors, dtype, device)


def _current(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the config with the fields of SAELens 6, whatever version wrote it."""
    kwargs = object_of(config, "activation_fn_kwargs")
    activation = config.get("activation_fn", config.get("activation_fn_str", "relu"))
    said = {"architecture": "standard", "normalize_activations": "none", "metadata": {}, **config}
    if activation == "topk" and said["architecture"] in ("standard", "topk"):
        said |= {"architecture": "topk", "k": kwargs.get("k", config.get("k"))}
    elif activation not in ("relu", "topk"):
        raise UnsupportedCoder(f"cfg.json: activation_fn is {activation!r}; only 'relu' and 'topk' can be run")
    if isinstance(said["normalize_activations"], bool) or said["normalize_activations"] is None:
        said["normalize_activations"] = "expected_average_only_in" if said["normalize_activations"] else "none"
    return said


def _form(config: Mapping[str, Any]) -> Form:
    name = config["architecture"]
    if name not in tuple(_READ):  # it may be anything that JSON can say
        known = ", ".join(_READ)
        raise UnsupportedCoder(f"cfg.json: architecture is {name!r}; of SAELens's, {known} can be run")
    architecture, transcoder, skip = _READ[name]
    d_model, d_sae = count_of(config, "d_in"), count_of(config, "d_sae")
    return Form(
        architecture=architecture,
        d_model=d_model,
        d_sae=d_sae,
        d_out=count_of(config, "d_out", d_model) if transcoder else d_model,
        transcoder=transcoder,
        skip=skip,
        k=count_of(config, "k") if architecture == "topk" else None,
        widths=_widths(config, d_sae) if architecture == "matryoshka_batch_topk" else (),
    )


def _with_training_form(form: Form, config: Mapping[str, Any], found: Mapping[str, Tensor]) -> Form:
    """Returns what a coder was trained as, where SAELens saved it as JumpReLU with one threshold for all latents."""
    metadata = object_of(config, "metadata")
    architecture = _TRAINED_AS.get(str(metadata.get("training_architecture")))
    threshold = found.get("threshold")
    if architecture is None or form.architecture != "jumprelu" or form.transcoder or threshold is None:
        return form
    if not threshold.numel() or not bool((threshold == threshold.flatten()[0]).all()):
        return form
    widths = _widths(object_of(metadata, "training_architecture_details"), form.d_sae)
    nested = architecture == "matryoshka_batch_topk"
    return Form(architecture, form.d_model, form.d_sae, form.d_out, widths=widths if nested else ())


def _widths(config: Mapping[str, Any], d_sae: int) -> tuple[int, ...]:
    """Returns the nested widths; SAELens adds d_sae where it is missing."""
    given = counts_of(config, "matryoshka_widths")
    return given if given and given[-1] == d_sae else (*given, d_sae)


def _renamed(found: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Returns the tensors by the names of SAELens 6's inference classes."""
    if "log_threshold" in found:
        found["threshold"] = found.pop("log_threshold").exp()
    if "topk_threshold" in found:
        found["threshold"] = found.pop("topk_threshold")
    for name in ("scaling_factor", "finetuning_scaling_factor"):
        if name in found and not bool((found[name] == 1).all()):
            raise UnsupportedCoder(f"{path} holds {name}; multiply the rows of W_dec by it and save the coder again")
    return found


def _checked(path: Path, form: Form, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors in our orientation."""
    tensors: dict[str, Tensor] = {}
    for name, shape in shapes(form).items():
        if name == "W_enc":
            check_tensor(path, name, found, shape[::-1])
            tensors[name] = found[name].T
        elif name == "threshold" and not shape:
            stored = found.get(name)
            check_tensor(path, name, found, () if stored is None or not stored.numel() else tuple(stored.shape))
            tensors[name] = found[name].flatten()[0]
        else:
            check_tensor(path, name, found, shape)
            tensors[name] = found[name]
    if "W_skip" in found and not form.skip:
        raise MalformedCoder(f"{path} holds W_skip, but cfg.json says an architecture without a skip connection")
    return tensors
