"""A sentence embedder of BERT's architecture as a GGUF file, which the laptop's engine serves."""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from dragoman.errors import FailedPrecondition, NotFound
from dragoman.models.pull import exclusive, scratch

_BLOCK = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
_EMBEDDINGS = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm.weight": "token_embd_norm.weight",
    "embeddings.LayerNorm.bias": "token_embd_norm.bias",
}
_CONTROL, _NORMAL, _UNUSED = 3, 1, 5  # token types of the format


def convert_bert(folder: Path, target: Path) -> Path:
    """Writes a Hugging Face folder (config, safetensors, WordPiece vocabulary) to a GGUF file; returns it.

    Weights keep float32; sentences are the mean of their tokens' vectors. An existing target is returned as it is: it
    only ever appears whole, by a rename.

    Raises:
        NotFound: no such folder.
        FailedPrecondition: gguf or safetensors is not installed here, or it is a model of another kind.
    """
    if target.is_file():
        return target
    if not (folder / "config.json").is_file():
        raise NotFound(f"there is no model in {folder}; fetch it first, for example with `dragoman models pull`")
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    if config.get("model_type") != "bert" or not (folder / "vocab.txt").is_file():
        raise FailedPrecondition(
            f"{folder.name} is no BERT with a WordPiece vocabulary; give a GGUF file of it instead"
        )
    with exclusive(target.parent):
        if not target.is_file():
            with scratch(target.parent) as partial:
                fresh = partial / target.name
                _write(folder, config, fresh)
                fresh.rename(target)
    return target


def _write(folder: Path, config: dict[str, Any], path: Path) -> None:
    gguf, safetensors = _imported("gguf"), _imported("safetensors.numpy")
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name(folder.name)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    _add_vocabulary(writer, folder, config)
    for name, tensor in safetensors.load_file(folder / "model.safetensors").items():
        renamed = _renamed(name.removeprefix("bert."))
        if renamed is not None:
            writer.add_tensor(renamed, tensor.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: Any, folder: Path, config: dict[str, Any]) -> None:
    words = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")[: config["vocab_size"]]
    special = {
        word: index for index, word in enumerate(words) if word in ("[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]")
    }
    writer.add_token_type_count(config["type_vocab_size"])
    writer.add_tokenizer_model("bert")
    writer.add_token_list([_phantom(word) for word in words])
    writer.add_token_types(
        [_CONTROL if word in special else _UNUSED if word.startswith("[unused") else _NORMAL for word in words]
    )
    writer.add_bos_token_id(special["[CLS]"])
    writer.add_eos_token_id(special["[SEP]"])
    writer.add_sep_token_id(special["[SEP]"])
    writer.add_pad_token_id(special["[PAD]"])
    writer.add_unk_token_id(special["[UNK]"])
    writer.add_mask_token_id(special["[MASK]"])


def _phantom(word: str) -> str:
    """The format marks the beginning of words, WordPiece what goes on in one."""
    if word.startswith("[") and word.endswith("]"):
        return word
    return word[2:] if word.startswith("##") else f"\u2581{word}"


def _renamed(name: str) -> str | None:
    """The tensor's name in the format; None for what no embedding needs (the pooler, position numbers)."""
    if name in _EMBEDDINGS:
        return _EMBEDDINGS[name]
    if not name.startswith("encoder.layer."):
        return None
    layer, rest = name.removeprefix("encoder.layer.").split(".", 1)
    module, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{_BLOCK[module]}.{kind}"


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise FailedPrecondition(
            f"converting an embedder needs gguf and safetensors, which are not installed here ({error}); "
            "pip install 'dragoman[stack]'"
        ) from error
