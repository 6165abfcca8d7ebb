"""Changing latents inside a pass, against arithmetic by hand."""

from typing import Any

import pytest
import torch
from activation.core.intervention import LatentEdit, activation_change, activations_of, steer
from activation.core.splice import Splice
from sparse_coders import TopKCoder
from torch import Tensor

from tests.support.tiny import LAST_BUT_ONE, VOCAB, tiny_model

SIX = ["llama", "gpt_neox", "gpt2", "gemma2", "mamba", "rwkv"]


def _coder(k: int = 8, seed: int = 1) -> TopKCoder:
    coder = TopKCoder(32, 64, k)
    generator = torch.Generator().manual_seed(seed)
    for parameter in coder.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    return coder


def _ids() -> Tensor:
    return torch.randint(0, VOCAB, (3, 12), generator=torch.Generator().manual_seed(2))


def test_what_each_intervention_adds_to_an_activation() -> None:
    activations = torch.tensor([[0.0, 2.0], [5.0, 1.0]])
    strengths = torch.tensor([3.0, -1.0])
    assert activation_change("add", activations, strengths).tolist() == [[3.0, 3.0], [-1.0, -1.0]]
    assert activation_change("clamp", activations, strengths).tolist() == [[3.0, 1.0], [-6.0, -2.0]]
    assert activation_change("zero", activations, strengths).tolist() == [[0.0, -2.0], [-5.0, -1.0]]


def test_steering_keeps_what_the_coder_does_not_explain() -> None:
    """Encode, change, decode, error put back: written out, that is x + (a' - a) W_dec."""
    coder, x = _coder(), torch.randn(2, 5, 32)
    latents = torch.tensor([3, 40])
    dense = torch.zeros(10, 64).scatter_(1, *reversed(coder.encode(x.flatten(0, 1)))).reshape(2, 5, 64)
    error = x - (dense @ coder.W_dec + coder.b_dec)
    changed = dense.clone()
    changed[0, :, 3], changed[1, :, 40] = 7.0, 2.0
    expected = changed @ coder.W_dec + coder.b_dec + error
    found = activations_of(coder, x, latents)
    assert found[0].tolist() == dense[0, :, 3].tolist()
    assert found[1].tolist() == dense[1, :, 40].tolist()
    change = activation_change("clamp", found, torch.tensor([7.0, 2.0]))
    torch.testing.assert_close(steer(x, change, coder.W_dec[latents]), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", SIX)
@torch.no_grad()
def test_each_line_has_its_own_latent_from_the_position_on(name: str) -> None:
    base = tiny_model(name).base_model
    hookpoint = LAST_BUT_ONE[name].split(".", 1)[1]
    coder, ids = _coder(), _ids()
    latents, strengths = torch.tensor([1, 2, 3]), torch.tensor([0.5, -4.0, 2.0])
    with Splice(base, LatentEdit(coder, hookpoint, hookpoint, "add").changing(latents, strengths, 9)):
        together = base(input_ids=ids)[0]
    for line in range(3):

        def by_hand(value: Tensor, read: Tensor, line: int = line) -> Tensor:
            direction = coder.W_dec[latents[line]] * strengths[line]
            return torch.cat([value[:, :9], value[:, 9:] + direction], 1)

        with Splice(base, {hookpoint: by_hand}):
            alone = base(input_ids=ids[[line]])[0]
        torch.testing.assert_close(together[[line]], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", SIX)
@torch.no_grad()
def test_strength_0_changes_nothing_and_a_clamp_to_what_is_there_neither(name: str) -> None:
    base = tiny_model(name).base_model
    hookpoint = LAST_BUT_ONE[name].split(".", 1)[1]
    coder, ids, latents = _coder(k=64), _ids(), torch.tensor([1, 2, 3])
    clean = base(input_ids=ids)[0]
    with Splice(base, LatentEdit(coder, hookpoint, hookpoint, "add").changing(latents, torch.zeros(3), 0)):
        assert torch.equal(base(input_ids=ids)[0], clean)
    measured = LatentEdit(coder, hookpoint, hookpoint, "clamp")
    with Splice(base, measured.measuring(latents, 11)):
        assert torch.equal(base(input_ids=ids)[0], clean)
    there = measured.taken()[:, 0]
    with Splice(base, measured.changing(latents, there, 11)):
        torch.testing.assert_close(base(input_ids=ids)[0], clean, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_transcoder_reads_the_input_and_changes_the_output() -> None:
    base = tiny_model("llama").base_model
    coder, ids, latents = _coder(k=64), _ids(), torch.tensor([4, 5, 6])
    seen: dict[str, Tensor] = {}

    def keep(key: str) -> Any:
        def edit(value: Tensor, read: Tensor) -> Tensor:
            seen[key] = value.clone()
            return value

        return edit

    with Splice(base, {"layers.1.mlp.input": keep("read"), "layers.1.mlp": keep("gave")}):
        base(input_ids=ids)
    edit = LatentEdit(coder, "layers.1.mlp.input", "layers.1.mlp", "zero")
    found: list[Tensor] = []
    edits = dict(edit.changing(latents, torch.zeros(3), 0))
    zero = edits["layers.1.mlp"]

    def watched(value: Tensor, read: Tensor) -> Tensor:
        found.append(zero(value, read))
        return found[-1]

    with Splice(base, {**edits, "layers.1.mlp": watched}):
        base(input_ids=ids)
    acts = activations_of(coder, seen["read"], latents)
    assert (acts > 0).any()
    expected = seen["gave"] - acts[:, :, None] * coder.W_dec[latents][:, None]
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_hookpoint_that_is_read_too_late_is_an_error() -> None:
    base = tiny_model("llama").base_model
    edit = LatentEdit(_coder(), "layers.2.mlp.input", "layers.1.mlp", "zero")
    with (
        pytest.raises(ValueError, match="not reached before"),
        Splice(base, edit.changing(torch.tensor([1, 2, 3]), torch.zeros(3), 0)),
    ):
        base(input_ids=_ids())
