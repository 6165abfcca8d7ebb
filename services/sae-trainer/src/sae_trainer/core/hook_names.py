"""TransformerLens's names of activations, which SAELens uses, as paths of the modules of `transformers`.

They name places of a forward pass that TransformerLens writes out anew, so that only those are mapped that hold the
same values in the model itself: what a block, its attention or its MLP reads or gives.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace


class UnknownHook(ValueError):
    """A name that has no module here; the message says why."""


@dataclass(frozen=True, slots=True)
class _Family:
    """What the modules of a family of models are called."""

    blocks: str
    attention: str
    attention_out: str
    """The linear layer that gives the attention's output; its input is TransformerLens's hook_z, heads side by side."""
    embeddings: str
    """Empty: none that gives the same values."""
    middle: str
    """The normalisation that reads the residual stream between attention and MLP; empty where they are parallel."""
    after_attention: str = ""
    """The normalisation after the attention, within the block; empty for none."""
    after_mlp: str = ""


_LLAMA = _Family("layers", "self_attn", "o_proj", "embed_tokens", "post_attention_layernorm")
_GEMMA = _Family(
    "layers",
    "self_attn",
    "o_proj",
    "",  # scaled by a factor that some versions of the module leave out
    "pre_feedforward_layernorm",
    "post_attention_layernorm",
    "post_feedforward_layernorm",
)
_GEMMA_1 = replace(_LLAMA, embeddings="")
_GPT2 = _Family("h", "attn", "c_proj", "wte", "ln_2")
_NEOX = _Family("layers", "attention", "dense", "embed_in", "")
_FAMILIES: Mapping[str, _Family] = {
    "gemma-2-": _GEMMA,
    "gemma-3-": _GEMMA,
    "gemma": _GEMMA_1,
    "gpt2": _GPT2,
    "pythia": _NEOX,
    "gpt-neox": _NEOX,
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen": _LLAMA,
    "smollm": _LLAMA,
    "deepseek-r1-distill": _LLAMA,
}
"""By a part of the model's name; the first that fits."""
_LISTED = re.compile(r"(?:^|\.)(\w+\.\d+(?:\..+)?)$")
_BLOCK = re.compile(r"^blocks\.(\d+)\.(.+)$")


def module_path(hook_name: str, model_name: str) -> str:
    """Returns the hookpoint that holds what a TransformerLens hook holds.

    >>> module_path("blocks.9.hook_resid_post", "EleutherAI/pythia-160m")
    'layers.9'
    >>> module_path("blocks.9.hook_resid_pre", "gpt2-small")
    'h.9.input'

    Raises:
        UnknownHook: the name or the model is not known, or no module holds these values.
    """
    if not hook_name.startswith(("blocks.", "hook_", "ln_final.", "unembed.")):
        return hook_name  # SAELens names modules by path too, where it runs a model of `transformers`
    family = _family(model_name)
    if family is None:
        raise UnknownHook(f"{hook_name!r} is a name of TransformerLens, and the model {model_name!r} is not known here")
    if hook_name == "hook_embed" and family.embeddings:
        return family.embeddings
    block = _BLOCK.match(hook_name)
    found = _in_block(block[2], family) if block else None
    if block is None or found is None:
        raise UnknownHook(
            f"{hook_name!r}, a name of TransformerLens, holds what no module of {model_name} reads or gives"
        )
    return f"{family.blocks}.{block[1]}{found}"


def hook_name(path: str, model_name: str) -> str:
    """Returns TransformerLens's name of what a hookpoint holds.

    >>> hook_name("model.layers.9", "HuggingFaceTB/SmolLM2-135M")
    'blocks.9.hook_resid_post'

    Raises:
        UnknownHook: the model is not known, or TransformerLens has no name for this.
    """
    family = _family(model_name)
    if family is None:
        raise UnknownHook(f"the model {model_name!r} is not known here, nor TransformerLens's name for its {path!r}")
    if family.embeddings and path.rpartition(".")[2] == family.embeddings:
        return "hook_embed"
    found = re.search(rf"(?:^|\.){family.blocks}\.(\d+)(\..+)?$", path)
    rest = (found[2] or "") if found else None
    for name, within in _places(family).items():
        if found and within == rest:
            return f"blocks.{found[1]}.{name}"
    raise UnknownHook(f"TransformerLens has no name for what {path!r} of {model_name} holds")


def sparsify_name(path: str) -> str:
    """Returns what sparsify calls a hookpoint: its path without the names of the modules that wrap the layers.

    >>> sparsify_name("model.layers.9.mlp")
    'layers.9.mlp'
    """
    found = _LISTED.search(path)
    return found[1] if found else path.rpartition(".")[2]


def _family(model_name: str) -> _Family | None:
    return next((found for part, found in _FAMILIES.items() if part in model_name.lower()), None)


def _in_block(name: str, family: _Family) -> str | None:
    """Returns what follows the block's path, None for a place that is no module's input or output."""
    return _places(family).get(name)


def _places(family: _Family) -> Mapping[str, str | None]:
    """Returns what follows a block's path for each name in a block; the first of two for the same is preferred."""
    middle = f".{family.middle}.input" if family.middle else None
    return {
        "hook_resid_pre": ".input",
        "hook_resid_post": "",
        "hook_resid_mid": middle,
        "hook_mlp_in": middle,
        "hook_attn_out": f".{family.after_attention or family.attention}",
        "hook_mlp_out": f".{family.after_mlp or 'mlp'}",
        "mlp.hook_in": ".mlp.input",
        "mlp.hook_out": ".mlp",
        "attn.hook_z": f".{family.attention}.{family.attention_out}.input",
    }
