"""Passes with a replaced hookpoint, and the losses of them, against passes of the whole model done plainly."""

from typing import Any

import numpy as np
import pytest
import torch
from activation.core import comparison
from activation.core.arms import Arms, StandIn
from activation.core.comparison import compare, predicted_positions
from activation.core.replacing import Replacer
from activation.core.shortcut import layers_before
from activation.core.splice import Splice
from activation.core.unembed import Unembedding
from dragoman.errors import UserTaskError
from torch import Tensor, nn

from tests.support.tiny import CONFIGS, LAST_BUT_ONE, tiny_model

IDS = torch.arange(2 * 9).reshape(2, 9) % 50 + 3
NAMES = list(CONFIGS)


def _inner(model: Any, name: str) -> str:
    return LAST_BUT_ONE[name].removeprefix(f"{model.base_model_prefix}.")


def _model(name: str) -> Any:
    model = tiny_model(name)
    model.config.use_cache = model.base_model.config.use_cache = False
    return model


@pytest.mark.parametrize("name", NAMES)
def test_last_hidden_states_and_what_becomes_of_them_make_the_models_own_logits(name: str) -> None:
    model = _model(name)
    with torch.no_grad():
        expected = model(input_ids=IDS).logits
    unembedding = Unembedding(model, model.base_model)
    states = unembedding.states(IDS)
    torch.testing.assert_close(unembedding.logits(states[0, 3:7]), expected[0, 3:7], rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        assert torch.equal(model(input_ids=IDS).logits, expected), "the model runs as before"


def test_a_model_that_is_its_own_base_is_refused() -> None:
    model = _model("llama")
    with pytest.raises(ValueError, match="has no base model"):
        Unembedding(model, model)


def test_a_soft_cap_of_the_logits_is_kept() -> None:
    model = _model("gemma2")
    model.config.final_logit_softcapping = 0.01
    unembedding = Unembedding(model, model.base_model)
    assert unembedding.logits(unembedding.states(IDS)[0]).abs().max() <= 0.01


def test_the_layers_that_are_done_before_a_hookpoint() -> None:
    base = _model("llama").base_model
    assert layers_before(base, "layers.2.mlp") == ["layers.0", "layers.1"]
    assert layers_before(base, "layers.1") == ["layers.0", "layers.1"], "of its own output only the edit is new"
    assert layers_before(base, "layers.1.input") == ["layers.0"]
    assert layers_before(base, "layers.0.self_attn.q_proj") == []
    assert layers_before(base, "embed_tokens") == []
    with pytest.raises(ValueError, match="no module"):
        layers_before(base, "layers.7")


def _calls(module: nn.Module) -> list[int]:
    calls: list[int] = []
    forward: Any = module.forward
    module.forward = lambda *args, **kwargs: calls.append(1) or forward(*args, **kwargs)
    return calls


@pytest.mark.parametrize("name", NAMES)
def test_a_replaced_pass_is_the_full_one_bit_for_bit_and_spares_the_layers_before(name: str) -> None:
    model = _model(name)
    base, hookpoint = model.base_model, _inner(model, name)
    layers = hookpoint.rpartition(".")[0]
    inside = f"{layers}.1" if name == "mamba" else f"{layers}.1.{_mlp(base, layers)}"
    replacer = Replacer(Unembedding(model, base), base, [f"{inside}.input"], [hookpoint, inside])
    where = torch.zeros(2, 9, dtype=torch.bool)
    where[0, 2:] = where[1, 4:7] = True
    by = torch.randn(int(where.sum()), 32, generator=torch.Generator().manual_seed(1))
    clean = replacer.clean(IDS)
    for place in (hookpoint, inside):

        def edit(value: Tensor, read: Tensor) -> Tensor:
            edited = value.clone()
            edited[where] = by
            return edited

        with Splice(base, {place: edit}):
            expected = Unembedding(model, base).states(IDS)
        first = _calls(base.get_submodule(f"{layers}.0"))
        for _ in range(2):
            assert torch.equal(replacer.replaced(clean, place, where, by), expected)
        assert not first, "the first layer did not run"
    assert torch.equal(Unembedding(model, base).states(IDS), clean.states), "nothing is left behind"


def _mlp(base: Any, layers: str) -> str:
    names = [name for name, _ in base.get_submodule(f"{layers}.1").named_children()]
    return next(name for name in names if name in {"mlp", "feed_forward"})


def test_a_model_whose_layers_share_more_than_one_output_is_run_in_full() -> None:
    """Here the last layer adds what the first one left aside."""
    model = _model("llama")
    base = model.base_model
    kept: list[Tensor] = []

    def leave(module: nn.Module, args: Any, output: Tensor) -> None:
        kept[:] = [output.mean(-1, keepdim=True)]

    base.layers[0].register_forward_hook(leave)
    base.layers[2].register_forward_hook(lambda _m, _a, output: output + kept[0])
    replacer = Replacer(Unembedding(model, base), base, [], ["layers.1"])
    clean = replacer.clean(IDS)
    calls = _calls(base.layers[0])
    where = torch.ones(2, 9, dtype=torch.bool)
    found = replacer.replaced(clean, "layers.1", where, torch.zeros(32))
    assert calls == [1]
    with Splice(base, {"layers.1": lambda value, _read: torch.zeros_like(value)}):
        assert torch.equal(found, Unembedding(model, base).states(IDS))


def test_a_single_vector_stands_at_all_positions_asked_for_and_nowhere_else() -> None:
    model = _model("gpt2")
    replacer = Replacer(Unembedding(model, model.base_model), model.base_model, [], ["h.2"])
    where = torch.zeros(2, 9, dtype=torch.bool)
    where[1, 5] = True
    clean = replacer.clean(IDS)
    found = replacer.replaced(clean, "h.2", where, torch.full((32,), 3.0))
    assert torch.equal(found[~where], clean.states[~where]), "after the last layer no position reads another"
    assert not torch.allclose(found[1, 5], clean.states[1, 5])


# ---------------------------------------------------------------- comparison


def test_predicted_positions_are_followed_by_a_token_of_their_document() -> None:
    documents = np.asarray([[-1, 0, 0, 1, 1, 1], [-1, 1, -1, 1, 1, -1], [-1, -1, -1, -1, -1, -1]], np.int32)
    assert np.argwhere(predicted_positions(documents)).tolist() == [[0, 1], [0, 3], [0, 4], [1, 3]]


def test_losses_are_those_of_the_definition_however_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    unembed = torch.randn(7, 40, generator=generator)
    original, one, two = (torch.randn(13, 7, generator=generator) for _ in range(3))
    targets = torch.randint(40, (13,), generator=generator)

    def logits_of(states: Tensor) -> Tensor:
        return states @ unembed

    whole = compare(logits_of, original, [one, two, original], targets, 40)
    p, q = ((s.double() @ unembed.double()).log_softmax(-1) for s in (original, one))
    torch.testing.assert_close(whole.original, -p[range(13), targets], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(whole.arms[0], -q[range(13), targets], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(whole.divergence[0], (p.exp() * (p - q)).sum(-1), rtol=1e-5, atol=1e-6)
    assert not whole.divergence[2].any(), "a distribution does not differ from itself"
    monkeypatch.setattr(comparison, "_LOGIT_BYTES", 4 * 40 * 3)
    assert comparison.positions_at_a_time(40, torch.device("cpu")) == 3
    cut = compare(logits_of, original, [one, two, original], targets, 40)
    torch.testing.assert_close(cut.divergence, whole.divergence, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(cut.arms, whole.arms, rtol=1e-5, atol=1e-6)


def test_logits_in_memory_are_bounded_for_a_large_vocabulary() -> None:
    assert comparison.positions_at_a_time(256_000, torch.device("cpu")) * 256_000 * 4 <= 32 * 2**20
    assert comparison.positions_at_a_time(2**40, torch.device("cpu")) == 1


# ---------------------------------------------------------------------- arms


def _arms(model: Any, *stand_ins: StandIn) -> Arms:
    means = {s.replaces: torch.full((32,), 0.1, dtype=torch.float64) for s in stand_ins}
    return Arms(Unembedding(model, model.base_model), model.base_model, stand_ins, means)


def _sums(arms: Arms, first_row: int = 0) -> dict[str, np.ndarray]:
    """What the arms return, once they have told of all that is done."""
    steps = arms.sums(TOKENS, DOCUMENTS, first_row, torch.device("cpu"))
    told: list[float] = []
    while True:
        try:
            told.append(next(steps))
        except StopIteration as end:
            assert told == sorted(told)
            assert told[-1] == 1.0
            return end.value


TOKENS = IDS.numpy().astype(np.int32)
DOCUMENTS = np.asarray([[-1, 0, 0, 0, 0, 1, 1, 1, 1], [-1, 1, 1, 1, 1, -1, -1, -1, -1]], np.int32)


def test_many_arms_in_groups_are_the_same_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model("gpt_neox")
    stand_ins = [
        StandIn("half", lambda x: x / 2, "layers.1", "layers.1"),
        StandIn("across", lambda x: x * 0.3, "layers.0.mlp.input", "layers.2.mlp"),
        StandIn("same", lambda x: x, "layers.1", "layers.1"),
    ]
    together = _sums(_arms(model, *stand_ins))
    monkeypatch.setattr("activation.core.arms._ARMS_TOGETHER", 2)
    grouped = _sums(_arms(model, *stand_ins))
    for name, values in together.items():
        np.testing.assert_array_equal(grouped[name], values, err_msg=name)
        alone = _sums(_arms(model, stand_ins[1]))
        np.testing.assert_allclose(alone[name][0], values[1], rtol=1e-6, atol=1e-6, err_msg=name)
    assert together["token_count"].tolist() == [[8, 4]] * 3
    assert together["predicted_count"].tolist() == [[6, 3]] * 3
    assert together["ce_coder"][2].tolist() == together["ce_original"][2].tolist()
    assert not together["kl_coder"][2].any()
    assert not together["squared_error"][2].any()
    assert (together["kl_coder"][:2] > 0).all()


@pytest.mark.parametrize(
    ("reconstruct", "message"),
    [
        (lambda x: x * float("nan"), "mine is NaN or infinite at 12 tokens, first in row 40"),
        (lambda x: x[:, :5], "mine gives vectors of 5, layers.1 has 32"),
    ],
)
def test_a_stand_in_that_cannot_stand_there_stops_the_task(reconstruct: Any, message: str) -> None:
    arms = _arms(_model("llama"), StandIn("mine", reconstruct, "layers.1", "layers.1"))
    with pytest.raises(UserTaskError, match=message):
        _sums(arms, 40)


def test_values_that_are_not_finite_name_the_hookpoint_and_the_row() -> None:
    model = _model("llama")
    with torch.no_grad():
        model.model.embed_tokens.weight[int(TOKENS[1, 2])] = float("nan")
    arms = _arms(model, StandIn("mine", lambda x: x, "layers.1", "layers.1"))
    with pytest.raises(UserTaskError, match=r"the model at layers\.1 is NaN .* first in row 41"):
        _sums(arms, 40)
