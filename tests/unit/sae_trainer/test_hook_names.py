"""TransformerLens's names of activations as module paths."""

import pytest
from sae_trainer.core.hook_names import UnknownHook, module_path


@pytest.mark.parametrize(
    ("hook", "model", "path"),
    [
        ("blocks.9.hook_resid_post", "pythia-70m-deduped", "layers.9"),
        ("blocks.9.hook_resid_post", "gpt2-small", "h.9"),
        ("blocks.0.hook_resid_pre", "meta-llama/Llama-3.1-8B", "layers.0.input"),
        ("blocks.12.hook_resid_mid", "HuggingFaceTB/SmolLM2-135M", "layers.12.post_attention_layernorm.input"),
        ("blocks.12.hook_resid_mid", "google/gemma-2-2b", "layers.12.pre_feedforward_layernorm.input"),
        ("blocks.3.hook_mlp_out", "mistral-7b", "layers.3.mlp"),
        ("blocks.3.hook_mlp_out", "gemma-2-2b", "layers.3.post_feedforward_layernorm"),
        ("blocks.3.hook_mlp_out", "gemma-2b", "layers.3.mlp"),
        ("blocks.3.mlp.hook_in", "Qwen/Qwen3-4B", "layers.3.mlp.input"),
        ("blocks.3.hook_attn_out", "pythia-1b", "layers.3.attention"),
        ("blocks.3.attn.hook_z", "gpt2", "h.3.attn.c_proj.input"),
        ("hook_embed", "gpt2", "wte"),
        ("model.layers.3.mlp", "anything", "model.layers.3.mlp"),
    ],
)
def test_names(hook: str, model: str, path: str) -> None:
    assert module_path(hook, model) == path


@pytest.mark.parametrize(
    ("hook", "model", "message"),
    [
        ("blocks.9.hook_resid_mid", "pythia-70m", "no module of pythia-70m"),
        ("blocks.9.ln2.hook_normalized", "gpt2", "no module of gpt2 reads or gives"),
        ("blocks.9.hook_resid_post", "unheard-of", "'unheard-of' is not known here"),
        ("hook_embed", "gemma-2b", "no module of gemma-2b"),
        ("blocks.9.hook_resid_post", "", "'' is not known here"),
        ("ln_final.hook_normalized", "gpt2", "no module of gpt2"),
    ],
)
def test_what_no_module_holds(hook: str, model: str, message: str) -> None:
    with pytest.raises(UnknownHook, match=message):
        module_path(hook, model)
