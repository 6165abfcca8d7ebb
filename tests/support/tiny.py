"""Tiny models of several architectures, a tokenizer and texts, made from nothing."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    CodeGenConfig,
    DbrxConfig,
    DeepseekV2Config,
    DeepseekV3Config,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTJConfig,
    GPTNeoConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MambaConfig,
    MptConfig,
    PreTrainedTokenizerFast,
    RwkvConfig,
    Zamba2Config,
    ZambaConfig,
)

VOCAB = 300
_PROSE = "the river ran past old mills and nobody counted how many stones it had rounded on its way"
_WORDS = _PROSE.split()


def text_of(seed: int, words: int) -> str:
    """Returns prose-like text; the same for the same seed."""
    return " ".join(_WORDS[(seed * 7 + i * i + i * seed) % len(_WORDS)] for i in range(words)) + ".\n"


CONFIGS: dict[str, Any] = {
    "llama": lambda: LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=VOCAB, max_position_embeddings=128, tie_word_embeddings=True,
    ),
    "gpt2": lambda: GPT2Config(n_embd=32, n_layer=3, n_head=4, vocab_size=VOCAB, n_positions=128),
    "gpt_neox": lambda: GPTNeoXConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, vocab_size=VOCAB,
        max_position_embeddings=128,
    ),
    "gemma2": lambda: Gemma2Config(
        hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, vocab_size=VOCAB, max_position_embeddings=128, sliding_window=16,
    ),
    "gemma3": lambda: Gemma3TextConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, vocab_size=VOCAB, max_position_embeddings=128, sliding_window=16,
    ),
    "falcon": lambda: FalconConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, vocab_size=VOCAB, parallel_attn=True,
        max_position_embeddings=128,
    ),
    "mamba": lambda: MambaConfig(hidden_size=32, num_hidden_layers=3, vocab_size=VOCAB, state_size=8),
    "rwkv": lambda: RwkvConfig(
        hidden_size=32, attention_hidden_size=32, num_hidden_layers=3, vocab_size=VOCAB, context_length=128,
        rescale_every=2,
    ),
}  # fmt: skip

_LATENT_ATTENTION: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 16, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": VOCAB, "max_position_embeddings": 128,
    "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "first_k_dense_replace": 1,
    "kv_lora_rank": 8, "q_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8, "n_group": 1,
    "topk_group": 1,
}  # fmt: skip
_SHARED_ATTENTION: dict[str, Any] = {
    "hidden_size": 32, "attention_hidden_size": 64, "intermediate_size": 48, "num_attention_heads": 4,
    "num_key_value_heads": 4, "mamba_d_state": 8, "vocab_size": VOCAB, "max_position_embeddings": 128,
}  # fmt: skip
FURTHER_CONFIGS: dict[str, Any] = {
    "mpt": lambda: MptConfig(d_model=24, n_heads=3, n_layers=2, expansion_ratio=2, vocab_size=VOCAB, max_seq_len=128),
    "gpt_neo": lambda: GPTNeoConfig(
        hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]], intermediate_size=48,
        vocab_size=VOCAB, max_position_embeddings=128, window_size=16, bos_token_id=0, eos_token_id=0,
    ),
    "gptj": lambda: GPTJConfig(n_embd=32, n_layer=2, n_head=4, rotary_dim=4, vocab_size=VOCAB, n_positions=128),
    "codegen": lambda: CodeGenConfig(
        n_embd=32, n_layer=2, n_head=4, rotary_dim=4, vocab_size=VOCAB, n_positions=128, n_ctx=128
    ),
    "deepseek_v2": lambda: DeepseekV2Config(**_LATENT_ATTENTION),
    "deepseek_v3": lambda: DeepseekV3Config(**_LATENT_ATTENTION),
    "zamba": lambda: ZambaConfig(
        num_hidden_layers=6, n_mamba_heads=2, mamba_dt_rank=4, attn_layer_period=3, attn_layer_offset=2,
        **_SHARED_ATTENTION,
    ),
    "zamba2": lambda: Zamba2Config(
        num_hidden_layers=4, n_mamba_heads=8, mamba_headdim=8, mamba_ngroups=1, chunk_size=8, num_mem_blocks=1,
        adapter_rank=4, layers_block_type=["mamba", "hybrid"] * 2, hybrid_layer_ids=[1, 3], **_SHARED_ATTENTION,
    ),
    "dbrx": lambda: DbrxConfig(
        d_model=32, n_heads=4, n_layers=2, max_seq_len=128, vocab_size=VOCAB,
        attn_config={"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 1e4},
        ffn_config={"hidden_size": 32, "ffn_hidden_size": 16, "moe_num_experts": 4, "moe_top_k": 2},
    ),
}  # fmt: skip
"""Architectures that are tried once, not with every weights variant."""

LAST_BUT_ONE = {
    "llama": "model.layers.1",
    "gpt2": "transformer.h.1",
    "gpt_neox": "gpt_neox.layers.1",
    "gemma2": "model.layers.1",
    "gemma3": "model.layers.1",
    "falcon": "transformer.h.1",
    "mamba": "backbone.layers.1",
    "rwkv": "rwkv.blocks.1",
}


def tiny_model(name: str) -> Any:
    """Returns a causal language model of a few layers with random weights that are always the same."""
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config((CONFIGS | FURTHER_CONFIGS)[name]()).eval()


def save_tokenizer(folder: Path, *, special: bool = True, adds_bos: bool = False) -> Path:
    """Trains and saves a byte-level BPE tokenizer; returns its folder."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = ["<s>", "</s>", "<pad>"] if special else []
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=names, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([text_of(i, 40) for i in range(50)], trainer)
    if adds_bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    special_tokens = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"} if special else {}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special_tokens).save_pretrained(folder)
    return folder


def save_gguf(path: Path, tokenizer: Path) -> Path:
    """Saves a Llama of one layer, of which only the embedding is there, with a tokenizer; returns its path."""
    import gguf
    import numpy as np

    model = json.loads((tokenizer / "tokenizer.json").read_text())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(48)
    writer.add_block_count(1)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(tokens))
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_tensor("token_embd.weight", np.zeros((len(tokens), 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
