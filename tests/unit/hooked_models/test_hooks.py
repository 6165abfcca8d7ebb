"""Hookpoints: the right values, and a pass that stops when it has them, for models of every build."""

from typing import Any

import numpy as np
import pytest
import torch
from dragoman.errors import InvalidSpec, UserTaskError
from hooked_models.batches import batches
from hooked_models.core.control import Occurrences
from hooked_models.core.forward import run_batches
from hooked_models.core.hooks import Capture
from hooked_models.core.names import full_name
from hooked_models.describe import describe_config
from hooked_models.description import ModelDescription
from hooked_models.models import LoadedModel
from torch import nn
from transformers import AutoModelForCausalLM, BartConfig, MixtralConfig

from tests.support.tiny import CONFIGS, FURTHER_CONFIGS, LAST_BUT_ONE, tiny_model

IDS = torch.arange(2 * 9).reshape(2, 9) % 50 + 3
LAYERS = list(LAST_BUT_ONE.items())


def _calls(module: nn.Module) -> list[int]:
    calls: list[int] = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize(("name", "hookpoint"), LAYERS)
def test_the_output_of_a_layer_equals_that_of_the_full_pass(name: str, hookpoint: str) -> None:
    model = tiny_model(name)
    with torch.no_grad():
        states = model(input_ids=IDS, output_hidden_states=True).hidden_states
    # Those of Mamba and RWKV begin after the first layer, not with the embeddings; RWKV halves every second.
    full = {"mamba": states[1], "rwkv": 2 * states[1]}.get(name, states[2])
    inner = hookpoint.removeprefix(f"{model.base_model_prefix}.")
    with Capture(model.base_model, [inner]) as capture:
        found = capture.run(IDS)[inner]
    torch.testing.assert_close(found, full, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "hookpoint"), LAYERS)
def test_nothing_runs_after_the_last_hookpoint(name: str, hookpoint: str) -> None:
    model = tiny_model(name)
    before, after = hookpoint.replace(".1", ".0"), hookpoint.replace(".1", ".2")
    calls, unembedding = _calls(model.get_submodule(after)), _calls(model.get_output_embeddings())
    inner = [n.removeprefix(f"{model.base_model_prefix}.") for n in (hookpoint, before)]
    with Capture(model.base_model, inner) as capture:
        assert list(capture.run(IDS)) == inner, "in the order asked for"
    assert calls == []
    assert unembedding == []
    model.base_model(input_ids=IDS)
    assert calls == [1], "no hook is left behind"


def test_tuple_outputs_give_their_first_element() -> None:
    model = tiny_model("llama")
    whole: list[Any] = []
    model.model.layers[0].self_attn.register_forward_hook(lambda _m, _a, output: whole.append(output))
    with Capture(model.model, ["layers.0.self_attn"]) as capture:
        found = capture.run(IDS)["layers.0.self_attn"]
    assert isinstance(whole[0], tuple)
    torch.testing.assert_close(found, whole[0][0], rtol=0, atol=0)


def test_input_and_output_of_a_module_are_read_in_one_pass() -> None:
    model = tiny_model("llama")
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    model.model.layers[1].mlp.register_forward_hook(lambda _m, args, output: seen.append((args[0], output)))
    names = ["layers.1.mlp", "layers.1.mlp.input", "layers.0"]
    with Capture(model.model, names) as capture:
        found = capture.run(IDS)
    assert list(found) == names
    assert len(seen) == 1, "one pass"
    assert torch.equal(found["layers.1.mlp.input"], seen[0][0])
    assert torch.equal(found["layers.1.mlp"], seen[0][1])


def test_an_input_given_by_name_is_read_and_the_module_itself_does_not_run() -> None:
    model = tiny_model("llama")
    attention = model.model.layers[1].self_attn
    calls = _calls(attention)
    with Capture(model.model, ["layers.1.self_attn.input", "layers.1.input_layernorm"]) as capture:
        found = capture.run(IDS)
    assert torch.equal(found["layers.1.self_attn.input"], found["layers.1.input_layernorm"])
    assert calls == []


def test_a_module_that_is_called_input_wins_over_the_suffix() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.input = nn.Linear(4, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.input(x + 1)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(60, 4)
            self.block = Block()

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return self.block(self.embed(input_ids))

    model = Model()
    with Capture(model, ["block.input", "block.input.input"]) as capture:
        found = capture.run(IDS)
    assert found["block.input"].shape == (2, 9, 6)
    assert torch.equal(found["block.input.input"], model.embed(IDS) + 1)


def test_a_value_that_the_model_writes_into_later_is_the_one_before() -> None:
    """Falcon adds the attention's output into the tensor that its MLP gave."""
    model = tiny_model("falcon")
    before: list[torch.Tensor] = []
    model.transformer.h[1].mlp.register_forward_hook(lambda _m, _a, output: before.append(output.clone()))
    with Capture(model.transformer, ["h.1.mlp", "h.1"]) as capture:
        found = capture.run(IDS)
        assert len(before) == 2, "the pass was done again"
        assert torch.equal(found["h.1.mlp"], before[0])
        assert torch.equal(capture.run(IDS)["h.1.mlp"], before[0])
    assert len(before) == 3, "only once"


@pytest.mark.parametrize("name", [*CONFIGS, *FURTHER_CONFIGS])
def test_a_description_names_every_width_that_a_real_pass_gives(name: str) -> None:
    model, said = tiny_model(name), describe_config((CONFIGS | FURTHER_CONFIGS)[name]())
    described = ModelDescription(**said)
    widths = {name.removeprefix(f"{described.base_prefix}."): width for name, width in described.widths.items()}
    unknown = [hookpoint for hookpoint, width in widths.items() if width is None]
    assert unknown == [f"blocks.{i}.ffn.experts" for i in (0, 1) if name == "dbrx"], "these need values"
    with Capture(model.base_model, list(widths)) as capture:
        found = capture.run(IDS)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        n: (2, 9, w or 32) for n, w in widths.items()
    }
    assert not LoadedModel(model, torch.device("cpu")).looks_ahead()
    assert described.vocab_size == 300
    assert described.context_length == (None if name == "mamba" else 128)


def test_experts_have_widths_too() -> None:
    config = MixtralConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=60, num_local_experts=4,
    )  # fmt: skip
    widths = ModelDescription(**describe_config(config)).widths
    assert {hookpoint: widths[f"model.layers.1.mlp{hookpoint}"] for hookpoint in ("", ".input", ".gate")} == {
        "": 32, ".input": 32, ".gate": 4,
    }  # fmt: skip
    with Capture(AutoModelForCausalLM.from_config(config).eval().model, ["layers.1.mlp.gate"]) as capture:
        assert capture.run(IDS)["layers.1.mlp.gate"].shape == (2, 9, 4)


def test_a_decoder_without_an_encoder_has_hookpoints_and_control_weights() -> None:
    config = BartConfig(
        d_model=32, decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=48, vocab_size=60,
        max_position_embeddings=64,
    )  # fmt: skip
    described = ModelDescription(**describe_config(config))
    assert described.widths["model.decoder.layers.1"] == 32
    model = LoadedModel(AutoModelForCausalLM.from_config(config).eval(), torch.device("cpu"), 0)
    tokens, documents = np.full((2, 8), 7, np.int32), np.zeros((2, 8), np.int32)
    found = next(batches(model, ["model.decoder.layers.0.input"], tokens, documents, 0, 2)).activations
    assert len(torch.unique(found["model.decoder.layers.0.input"], dim=0)) == 16, "noise of its own for each"


def test_an_unknown_hookpoint_is_answered_with_the_nearest_real_names() -> None:
    described = ModelDescription(**describe_config(CONFIGS["llama"]()))
    assert described.hookpoint("layers.2.mlp", "hookpoints[0]") == "model.layers.2.mlp"
    assert described.hookpoint("model.layers.2.mlp", "hookpoints[0]") == "model.layers.2.mlp"
    with pytest.raises(InvalidSpec) as caught:
        described.hookpoint("layers.2.mpl", "hookpoints[0]")
    assert caught.value.violations[0].field == "hookpoints[0]"
    assert "no hookpoint 'layers.2.mpl'; the nearest are layers.2.mlp" in caught.value.message
    with pytest.raises(InvalidSpec, match=r"nearest are layers\.\d"):
        described.hookpoint("layers.99", "hookpoints[0]")
    assert described.hookpoint("layers.2.mlp.input", "hookpoints[0]") == "model.layers.2.mlp.input"
    with pytest.raises(InvalidSpec, match=r"nearest are layers\.\d\.mlp\.input"):
        described.hookpoint("layers.2.mpl.input", "hookpoints[0]")


def test_inputs_have_widths_of_their_own() -> None:
    described = ModelDescription(**describe_config(CONFIGS["llama"]()))
    assert described.widths["model.layers.0.mlp.down_proj.input"] == 48
    assert described.widths["model.layers.0.mlp.down_proj"] == 32
    assert "model.embed_tokens.input" not in described.widths, "token ids are no vectors"


def test_names_are_taken_in_full_or_from_the_base_model() -> None:
    names = {"gpt_neox.layers.3.mlp": 1}
    assert full_name("layers.3.mlp", names, "gpt_neox") == "gpt_neox.layers.3.mlp"
    assert full_name("gpt_neox.layers.3.mlp", names, "gpt_neox") == "gpt_neox.layers.3.mlp"
    assert full_name("layers.3", names, "gpt_neox") is None


def test_a_module_without_a_vector_per_token_is_refused() -> None:
    with Capture(tiny_model("llama").model, ["rotary_emb"]) as capture, pytest.raises(ValueError, match="rotary_emb"):
        capture.run(IDS)


def test_batches_hold_the_counted_positions_only() -> None:
    model = tiny_model("llama")
    tokens = np.arange(5 * 8, dtype=np.int32).reshape(5, 8) % 90
    documents = np.zeros((5, 8), np.int32)
    documents[:, 0] = -1
    documents[4, 5:] = -1
    with Capture(model.model, ["layers.1"]) as capture:
        batches = list(run_batches(capture, tokens, documents, 100, 2, torch.device("cpu"), Occurrences(None)))
        dense = capture.run(torch.from_numpy(tokens).long())["layers.1"].numpy()
    rows = np.concatenate([b.rows for b in batches])
    positions = np.concatenate([b.positions for b in batches])
    assert list(zip(rows - 100, positions, strict=True)) == [tuple(p) for p in np.argwhere(documents >= 0)]
    found = torch.cat([b.activations["layers.1"] for b in batches]).numpy()
    np.testing.assert_allclose(found, dense[rows - 100, positions], atol=1e-5)
    assert np.concatenate([b.tokens for b in batches]).tolist() == tokens[documents >= 0].tolist()


def test_activations_that_are_not_finite_stop_the_task_and_name_the_row() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.model.embed_tokens.weight[77] = float("nan")
    tokens = np.full((4, 8), 5, np.int32)
    tokens[2, 6] = 77
    with Capture(model.model, ["layers.0"]) as capture, pytest.raises(UserTaskError, match="first in row 42"):
        list(run_batches(capture, tokens, np.zeros((4, 8), np.int32), 40, 2, torch.device("cpu"), Occurrences(None)))


def test_what_float16_cannot_hold_stops_the_control_too() -> None:
    model = tiny_model("llama").half()
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.mul_(1e6)
    tokens = np.full((3, 8), 5, np.int32)
    embedding = model.model.get_input_embeddings()
    with (
        Capture(model.model, ["layers.0"]) as capture,
        Occurrences(embedding, 1) as occurrences,
        pytest.raises(UserTaskError, match=r"first in row \d+; a wider dtype may help"),
    ):
        list(run_batches(capture, tokens, np.zeros((3, 8), np.int32), 40, 2, torch.device("cpu"), occurrences))
