"""What SAELens's coders do and ours do not, folded into the weights: see `saelens_layout`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from sparse_coders.coder_files import object_of
from sparse_coders.errors import MalformedCoder, UnsupportedCoder
from sparse_coders.form import Form

SCALE_FILE = "activation_scaler.json"
"""Beside the weights of a checkpoint, {"scaling_factor": number}."""
_WRITTEN_TO = ("hook_resid_", "hook_attn_out", "hook_mlp_out", "hook_embed")
"""Hooks that hold the residual stream or what is added to it."""
_WITH_LAYER_NORM = ("gpt2", "pythia", "gpt-neo", "gpt-j", "opt-", "bloom", "tinystories", "tiny-stories")
_PER_TOKEN = ("constant_norm_rescale", "layer_norm")


@dataclass(frozen=True, slots=True)
class Folds:
    """What has to go into the weights, in this order."""

    decoder_norm: bool
    scale: float
    """Of the input; 1 for none."""
    subtract_b_dec: bool
    """The file's coder does not subtract b_dec, ours does."""
    centred: bool
    """The file's coder saw activations less their mean over d_model."""

    @property
    def any(self) -> bool:
        """True when there is something to fold."""
        return self.decoder_norm or self.scale != 1 or self.subtract_b_dec or self.centred


def folds_of(config: Mapping[str, Any], folder: Path, transcoder: bool) -> Folds:
    """Returns what a config asks for that ours do not do. Raises UnsupportedCoder for what cannot be folded."""
    normalisation = config["normalize_activations"]
    if transcoder and normalisation != "none":
        raise UnsupportedCoder(
            f"cfg.json: normalize_activations is {normalisation!r}; of a transcoder it must be 'none'"
        )
    if normalisation in _PER_TOKEN:
        raise UnsupportedCoder(
            f"cfg.json: normalize_activations is {normalisation!r}, a scale of its own for each token, which cannot be "
            "folded into the weights; use a coder that reads the activations as they are"
        )
    if normalisation not in ("none", "expected_average_only_in"):
        raise UnsupportedCoder(
            f"cfg.json: normalize_activations is {normalisation!r}; fold it into the weights with SAELens "
            "(`fold_activation_whitening`) and save the coder again"
        )
    return Folds(
        decoder_norm="topk" in config["architecture"] and bool(config.get("rescale_acts_by_decoder_norm")),
        scale=_scale(folder) if normalisation == "expected_average_only_in" else 1.0,
        subtract_b_dec=not transcoder and not config.get("apply_b_dec_to_input", True),
        centred=not transcoder and _is_centred(config),
    )


def _is_centred(config: Mapping[str, Any]) -> bool:
    """True when TransformerLens took the mean over d_model out of all that is written to the residual stream.

    That changes nothing that the model computes, since LayerNorm takes it out too; it does so for such models only.
    """
    metadata = {**config, **object_of(config, "metadata")}
    options = object_of(metadata, "model_from_pretrained_kwargs")
    hook_name = str(metadata.get("hook_name") or metadata.get("hook_point") or "")
    model_name = str(metadata.get("model_name") or "").lower()
    return (
        bool(options.get("center_writing_weights"))
        and any(part in hook_name for part in _WRITTEN_TO)
        and any(part in model_name for part in _WITH_LAYER_NORM)
    )


def _scale(folder: Path) -> float:
    try:
        value = json.loads((folder / SCALE_FILE).read_text(encoding="utf-8"))["scaling_factor"]
        scale = float(value)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnsupportedCoder(
            "cfg.json: normalize_activations is 'expected_average_only_in', but the factor is not in the files; "
            f"put {SCALE_FILE} with {{'scaling_factor': number}} beside them, or fold it with SAELens "
            "(`fold_activation_norm_scaling_factor`) and save the coder again"
        ) from error
    if not 0 < scale < float("inf"):
        raise MalformedCoder(f"{SCALE_FILE}: scaling_factor is {scale}; expected a number above 0")
    return scale


def folded(tensors: Mapping[str, Tensor], form: Form, folds: Folds) -> dict[str, Tensor]:
    """Returns the weights of the coder of ours that gives the same, in float64."""
    weights = dict(tensors)
    if folds.decoder_norm:
        norm = weights["W_dec"].norm(dim=1)
        weights["W_enc"] = weights["W_enc"] * norm[:, None]
        weights["b_enc"] = weights["b_enc"] * norm
        # A latent without a decoder row gives nothing, whatever its norm.
        weights["W_dec"] = weights["W_dec"] / norm.clamp(min=1e-300)[:, None]
    if folds.scale != 1:
        weights["W_enc"] = weights["W_enc"] * folds.scale
        weights["W_dec"] = weights["W_dec"] / folds.scale
        weights["b_dec"] = weights["b_dec"] / folds.scale
    if folds.centred:
        b_dec = weights["b_dec"]
        weights["W_enc"], W_enc = weights["W_enc"] - weights["W_enc"].mean(1, keepdim=True), weights["W_enc"]
        # Where C takes the mean out: W_enc (C x - b_dec) = W_enc C (x - b_dec) - W_enc (b_dec - C b_dec).
        if not folds.subtract_b_dec:
            weights = _shifted(weights, form, -(W_enc.sum(1) * b_dec.mean()))
    if folds.subtract_b_dec:
        weights = _shifted(weights, form, weights["W_enc"] @ weights["b_dec"])
    return weights


def _shifted(tensors: Mapping[str, Tensor], form: Form, shift: Tensor) -> dict[str, Tensor]:
    """Returns the weights with so much added to what each latent's encoder row gives."""
    shifted = dict(tensors)
    if form.architecture == "gated":
        shifted["b_gate"] = shifted["b_gate"] + shift
        shifted["b_mag"] = shifted["b_mag"] + shift * shifted["r_mag"].exp()
    else:
        shifted["b_enc"] = shifted["b_enc"] + shift
    return shifted
