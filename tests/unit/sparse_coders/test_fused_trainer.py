"""Compiled training: the same as in plain PyTorch, the same on any number of threads, and to be resumed."""

import importlib.util
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from sparse_coders import CoderTrainer, TopKCoder, TrainerOptions, initial_coder, trainer_of
from sparse_coders.fused_trainer import FusedTopKTrainer
from torch import Tensor

from tests.unit.sparse_coders.planted import planted_activations

REVIVING = TrainerOptions(dead_tokens=350)


@cache  # made with PyTorch's products, which depend on the number of threads
def batches() -> tuple[Tensor, ...]:
    return planted_activations(3900, 24, 64, 3).split(300)


def autoencoder() -> TopKCoder:
    coder = initial_coder(24, 200, 4, batches()[0], seed=0)
    coder.b_enc.data[:60] = -0.4  # dead from the start, so that the auxiliary loss takes part
    return coder


def transcoder(*, skip: bool = False, d_out: int = 10) -> TopKCoder:
    coder = TopKCoder(24, 200, 4, d_out=d_out, transcoder=True, skip=skip)
    generator = torch.Generator().manual_seed(2)
    for value in coder.parameters():
        value.data.uniform_(-0.2, 0.2, generator=generator)
    return coder


def assert_equal_training(coders: list[TopKCoder], options: TrainerOptions, width: int) -> None:
    ours, plain = FusedTopKTrainer(coders[0], options), CoderTrainer(coders[1], options)
    for batch in batches():
        y = batch if width == batch.shape[1] else batch[:, :width] * 2 - 1
        report, expected = ours.step(batch, y, 1e-3), plain.step(batch, y, 1e-3)
        assert report.loss == pytest.approx(expected.loss, abs=1e-5)
        assert report.fvu == pytest.approx(expected.fvu, abs=1e-5)
        assert (report.l0, report.dead_fraction) == pytest.approx((expected.l0, expected.dead_fraction))
    state, expected_state = ours.state(), plain.state()
    assert list(state) == list(expected_state)
    for name, value in state.items():
        torch.testing.assert_close(value, expected_state[name], rtol=1e-4, atol=1e-5)


def test_autoencoder_with_dead_latents_equals_plain_pytorch() -> None:
    assert_equal_training([autoencoder(), autoencoder()], REVIVING, 24)


@pytest.mark.parametrize("skip", [False, True])
def test_transcoder_equals_plain_pytorch(skip: bool) -> None:
    assert_equal_training([transcoder(skip=skip), transcoder(skip=skip)], TrainerOptions(dead_tokens=500), 10)


def test_free_decoder_and_other_momenta_equal_plain_pytorch() -> None:
    options = TrainerOptions(decoder_norm="free", beta1=0.8, beta2=0.99, auxk_alpha=0.0)
    assert_equal_training([autoencoder(), autoencoder()], options, 24)


def test_selected_latents_at_zero_did_not_fire() -> None:
    ours, plain = (make(autoencoder(), TrainerOptions()) for make in (FusedTopKTrainer, CoderTrainer))
    for trainer in (ours, plain):
        trainer.coder.get_parameter("b_enc").data.fill_(-0.7)
    report, expected = (trainer.step(batches()[0], batches()[0], 1e-3) for trainer in (ours, plain))
    assert report.l0 == pytest.approx(expected.l0)
    assert 0 < report.l0 < 3
    state, expected_state = ours.state(), plain.state()
    assert torch.equal(state["idle_tokens"], expected_state["idle_tokens"])
    for name in ("adam.W_enc.exp_avg", "adam.b_enc.exp_avg", "adam.W_dec.exp_avg"):
        assert torch.equal(state[name] != 0, expected_state[name] != 0)


def trained(options: TrainerOptions, count: int = 13) -> dict[str, Tensor]:
    trainer = FusedTopKTrainer(autoencoder(), options)
    for batch in batches()[:count]:
        trainer.step(batch, batch, 1e-3)
    return trainer.state()


def skipping() -> dict[str, Tensor]:
    trainer = FusedTopKTrainer(transcoder(skip=True, d_out=150), TrainerOptions())
    for batch in batches()[:4]:
        trainer.step(batch, batch.repeat(1, 7)[:, :150], 1e-3)
    return {f"skip.{name}": value for name, value in trainer.state().items()}


def test_any_number_of_threads_and_either_search_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    states: list[dict[str, Tensor]] = []
    try:
        for threads, rounds in ((1, True), (3, True), (2, False)):
            torch.set_num_threads(threads)
            monkeypatch.setattr("sparse_coders.fused_trainer.has_fast_bfloat16", lambda rounds=rounds: rounds)
            states.append(trained(TrainerOptions(auxk_alpha=0.0)) | skipping())
    finally:
        torch.set_num_threads(before)
    for other in states[1:]:
        assert all(torch.equal(other[name], value) for name, value in states[0].items())


def test_state_resumes_bit_for_bit(tmp_path: Path) -> None:
    save_file(trained(REVIVING, 8), tmp_path / "state.safetensors")
    resumed = FusedTopKTrainer(initial_coder(24, 200, 4, batches()[1] + 1, seed=9), REVIVING)
    resumed.load_state(load_file(tmp_path / "state.safetensors"))
    for batch in batches()[8:]:
        resumed.step(batch, batch, 1e-3)
    expected = trained(REVIVING)
    assert all(torch.equal(value, expected[name]) for name, value in resumed.state().items())


def test_divergence_shows() -> None:
    trainer = FusedTopKTrainer(autoencoder(), REVIVING)
    batch = batches()[0].clone()
    batch[3, 3] = torch.nan
    assert not trainer.step(batch, batch, 1e-3).fvu < 1
    same = torch.full((50, 24), 3.0)
    assert not FusedTopKTrainer(autoencoder(), REVIVING).step(same, same, 1e-3).fvu < 1


def test_who_gets_the_compiled_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(trainer_of(autoencoder(), TrainerOptions())) is FusedTopKTrainer
    assert type(trainer_of(transcoder(skip=True), TrainerOptions())) is FusedTopKTrainer
    for other in ({"optimiser": "signum"}, {"max_grad_norm": 1.0}, {"multi_topk": True}, {"ema_decay": 0.9}):
        assert type(trainer_of(autoencoder(), TrainerOptions(**other))) is CoderTrainer
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert type(trainer_of(autoencoder(), TrainerOptions())) is CoderTrainer
