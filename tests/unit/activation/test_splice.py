"""Edits in the middle of a pass: exact where they change nothing, and no assumption about the architecture."""

from typing import Any

import pytest
import torch
from activation.core.splice import Splice
from torch import Tensor

from tests.support.tiny import LAST_BUT_ONE, tiny_model

IDS = torch.arange(2 * 9).reshape(2, 9) % 50 + 3

_MIXER = {
    "gemma2": "model.layers.1.mlp",
    "gemma3": "model.layers.1.mlp",
    "falcon": "transformer.h.1.mlp",
    "rwkv": "rwkv.blocks.1.feed_forward",
    "llama": "model.layers.1.mlp",
    "gpt2": "transformer.h.1.mlp",
    "gpt_neox": "gpt_neox.layers.1.mlp",
    "mamba": "backbone.layers.1.mixer",
}
_NAMES = list(_MIXER)


@torch.no_grad()
def _logits(model: Any) -> Tensor:
    return model(input_ids=IDS, use_cache=False).logits


def _given(module: Any) -> list[Any]:
    """What the module will have given, edits included, pass by pass."""
    outputs: list[Any] = []
    module.register_forward_hook(lambda _m, _a, output: outputs.append(output))
    return outputs


@pytest.mark.parametrize("name", _NAMES)
def test_an_edit_that_returns_what_it_was_given_changes_no_bit(name: str) -> None:
    model = tiny_model(name)
    clean = _logits(model)
    for hookpoint in (LAST_BUT_ONE[name], _MIXER[name], f"{LAST_BUT_ONE[name]}.input", f"{_MIXER[name]}.input"):
        calls: list[int] = []

        def same(value: Tensor, read: Tensor, calls: list[int] = calls) -> Tensor:
            calls.append(1)
            return value

        with Splice(model, {hookpoint: same}):
            assert torch.equal(_logits(model), clean), hookpoint
        assert calls == [1], f"{hookpoint} is edited once a pass"
        assert torch.equal(_logits(model), clean)
        assert calls == [1], "no hook is left behind"


@pytest.mark.parametrize("name", _NAMES)
def test_an_edit_sees_output_and_input_and_its_result_is_what_the_model_goes_on_with(name: str) -> None:
    model = tiny_model(name)
    clean = _logits(model)
    module = model.get_submodule(_MIXER[name])
    pairs: list[tuple[Tensor, Tensor]] = []
    seen: list[Any] = []
    module.register_forward_hook(lambda _m, args, kwargs, output: seen.append((args, kwargs, output)), with_kwargs=True)

    def double(value: Tensor, read: Tensor) -> Tensor:
        pairs.append((value, read))
        return value * 2

    with Splice(model, {_MIXER[name]: double}):
        edited = _logits(model)
    args, kwargs, output = seen[0]
    read = args[0] if args else kwargs["hidden_states"]
    assert torch.equal(pairs[0][1], read)
    assert torch.equal(pairs[0][0], output[0] if isinstance(output, tuple) else output)
    assert not torch.allclose(edited, clean, atol=1e-4)


@pytest.mark.parametrize("name", _NAMES)
def test_replacing_a_layers_output_hides_everything_before_it(name: str) -> None:
    model = tiny_model(name)
    value = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(1))
    with Splice(model, {LAST_BUT_ONE[name]: lambda _value, _read: value.clone()}):
        one = _logits(model)
        with torch.no_grad():
            other = model(input_ids=IDS.flip(0), use_cache=False).logits
    assert torch.equal(one, other)


def test_replacing_an_input_is_replacing_the_output_before_it() -> None:
    model = tiny_model("llama")
    value = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(1))
    with Splice(model, {"model.layers.2.input": lambda _value, _read: value.clone()}):
        one = _logits(model)
    with Splice(model, {"model.layers.1": lambda _value, _read: value.clone()}):
        assert torch.equal(_logits(model), one)


def test_tuple_outputs_keep_their_other_elements() -> None:
    model = tiny_model("rwkv")
    outputs = _given(model.rwkv.blocks[1])
    _logits(model)
    with Splice(model, {"rwkv.blocks.1": lambda value, _read: value + 1}):
        # After the splice's own hook, so that it sees what the edit made.
        edited_outputs = _given(model.rwkv.blocks[1])
        _logits(model)
    clean, edited = outputs[0], edited_outputs[0]
    assert type(edited) is type(clean) is tuple
    assert len(edited) == len(clean) > 1
    torch.testing.assert_close(edited[0], clean[0] + 1)
    for mine, other in zip(edited[1:], clean[1:], strict=True):
        assert mine is other or torch.equal(mine, other)


def test_two_edits_in_one_pass_see_each_other() -> None:
    model = tiny_model("gpt2")
    seen: list[Tensor] = []

    def note(value: Tensor, read: Tensor) -> Tensor:
        seen.append(read)
        return value

    edits = {"transformer.h.2": note, "transformer.h.1": lambda value, _read: torch.zeros_like(value)}
    with Splice(model, edits):
        _logits(model)
    assert not seen[0].any()


def test_tokens_without_a_batch_axis_are_edited_too() -> None:
    """Experts see [batch * pos, d]."""

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.expert = torch.nn.Linear(4, 4, bias=False)

        def forward(self, input_ids: Tensor) -> Tensor:
            x = torch.nn.functional.one_hot(input_ids, 4).float()
            return self.expert(x.flatten(0, 1)).reshape(x.shape)

    model = Flat()
    ids = torch.tensor([[0, 1, 2], [3, 2, 1]])
    shapes: list[Any] = []

    def zero(value: Tensor, read: Tensor) -> Tensor:
        shapes.append((value.shape, read.shape))
        return torch.zeros_like(value)

    with Splice(model, {"expert": zero}):
        assert not model(input_ids=ids).any()
    assert shapes == [((2, 3, 4), (2, 3, 4))]


def test_what_cannot_be_edited_is_refused() -> None:
    model = tiny_model("llama")
    with pytest.raises(ValueError, match=r"no module 'model\.layers\.7'"):
        Splice(model, {"model.layers.7": lambda value, _read: value})
    with (
        Splice(model, {"model.rotary_emb": lambda value, _read: value}),
        pytest.raises(ValueError, match="no tensor of one vector per token"),
    ):
        _logits(model)
    with (
        Splice(model, {"model.layers.1": lambda value, _read: value[:, :3]}),
        pytest.raises(ValueError, match=r"gives \(2, 9, 32\), and the edit \(2, 3, 32\)"),
    ):
        _logits(model)
    assert torch.isfinite(_logits(model)).all()
