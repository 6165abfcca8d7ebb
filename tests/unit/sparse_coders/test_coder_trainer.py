"""Training of every architecture with every optimiser: resumed bit for bit, and what peers get wrong."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from sparse_coders import (
    ARCHITECTURES,
    CoderTrainer,
    Form,
    Initialisation,
    InvalidOption,
    MalformedCoder,
    SparseCoder,
    StepReport,
    TrainerOptions,
    initial_coder_of,
)
from sparse_coders.sparsity_control import SparsityControl
from torch import Tensor

from tests.unit.sparse_coders.planted import planted_activations

D_MODEL, D_OUT, D_SAE = 16, 10, 64
X = planted_activations(1200, D_MODEL, 48, 3)
FORMS = ("autoencoder", "transcoder", "skip transcoder")
OPTIMISERS = ("adam", "signum", "muon", "schedule_free")
TARGET = {"relu", "gated", "jumprelu"}


def made(architecture: str, form: str = "autoencoder", seed: int = 0, **start: float) -> SparseCoder:
    other = form != "autoencoder"
    widths = (16, 32, D_SAE) if architecture.startswith("matryoshka") else ()
    shape = Form(architecture, D_MODEL, D_SAE, D_OUT if other else D_MODEL, other, form == "skip transcoder", 4, widths)
    return initial_coder_of(shape, X, target(X, form), seed, Initialisation(l0=start.get("l0", 8.0)))


def target(x: Tensor, form: str) -> Tensor:
    return x if form == "autoencoder" else (x[:, :D_OUT] - 2).relu()


def options_of(architecture: str, **other: object) -> TrainerOptions:
    target_l0 = 4.0 if architecture in TARGET else None
    return TrainerOptions(k=4, target_l0=target_l0, dead_tokens=150, l0_warmup_steps=9, **other)  # pyright: ignore[reportArgumentType]


def resampling(architecture: str) -> dict[str, int]:
    return {"resample_tokens": 300} if architecture in {"relu", "gated"} else {}


def steps(trainer: CoderTrainer, batches: list[Tensor], form: str = "autoencoder") -> list[StepReport]:
    return [trainer.step(x, target(x, form), 3e-3) for x in batches]


def check_resume(folder: Path, architecture: str, form: str, options: TrainerOptions) -> list[StepReport]:
    batches = list(X.split(100))
    straight, first = (CoderTrainer(made(architecture, form), options) for _ in range(2))
    reports = steps(straight, batches, form)
    steps(first, batches[:5], form)
    save_file({name: value.contiguous() for name, value in first.state().items()}, folder / "state.safetensors")
    second = CoderTrainer(made(architecture, form, seed=9), options)
    second.load_state(load_file(folder / "state.safetensors"))
    assert steps(second, batches[5:], form) == reports[5:]
    straight.finish()
    second.finish()
    for (name, a), b in zip(straight.coder.named_parameters(), second.coder.parameters(), strict=True):
        assert torch.equal(a, b), name
    return reports


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_resumes_bit_for_bit(architecture: str, form: str, tmp_path: Path) -> None:
    reports = check_resume(tmp_path, architecture, form, options_of(architecture, **resampling(architecture)))
    assert reports[-1].fvu < reports[0].fvu or architecture in TARGET
    assert all(report.fvu > 0 for report in reports)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("architecture", ["topk", "jumprelu"])
def test_every_optimiser_resumes_bit_for_bit(architecture: str, optimiser: str, tmp_path: Path) -> None:
    options = options_of(architecture, optimiser=optimiser, ema_decay=0.9, max_grad_norm=0.1)
    reports = check_resume(tmp_path, architecture, "autoencoder", options)
    assert max(report.dead_fraction for report in reports) > 0 or architecture == "jumprelu"


@pytest.mark.parametrize("option", [{"autocast": "bfloat16"}, {"frozen": "decoder"}, {"frozen": "all"}])
@pytest.mark.parametrize("architecture", ["batch_topk", "gated"])
def test_other_options_resume_bit_for_bit(architecture: str, option: dict[str, str], tmp_path: Path) -> None:
    check_resume(tmp_path, architecture, "autoencoder", options_of(architecture, **option))


def test_a_state_before_the_first_step_resumes(tmp_path: Path) -> None:
    first, second = (CoderTrainer(made("topk", seed=seed), options_of("topk")) for seed in (0, 1))
    second.load_state(first.state())
    assert steps(first, [X[:100]]) == steps(second, [X[:100]])


def test_a_state_of_other_options_is_refused() -> None:
    state = CoderTrainer(made("topk"), options_of("topk")).state()
    with pytest.raises(MalformedCoder, match=r"signum.W_enc.momentum_buffer is nothing; expected \[64, 16\]"):
        CoderTrainer(made("topk"), options_of("topk", optimiser="signum")).load_state(state)


@pytest.mark.parametrize("batch_tokens", [50, 200])
def test_dead_windows_are_tokens_whatever_the_batch(batch_tokens: int) -> None:
    """SAELens counts forward passes, so that its window depends on the batch size."""
    coder = made("topk")
    coder.get_parameter("b_enc").data[:8] = -1e6
    trainer = CoderTrainer(coder, TrainerOptions(dead_tokens=400, auxk_alpha=0.0))
    seen = {
        (step + 1) * batch_tokens: trainer.step(x, x, 0.0).dead_fraction
        for step, x in enumerate(X.split(batch_tokens)[: 600 // batch_tokens])
    }
    assert seen[400] == 0
    assert seen[600] >= 8 / D_SAE


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_every_optimiser_learns(optimiser: str) -> None:
    rate = {"muon": 1e-2, "signum": 1e-3}.get(optimiser, 3e-3)
    trainer = CoderTrainer(made("topk"), options_of("topk", optimiser=optimiser))
    before = trainer.step(X, X, 0.0).fvu
    for x in list(X.split(100)) * 4:
        trainer.step(x, x, rate)
    trainer.finish()
    error = trainer.coder(X) - X
    assert error.square().sum() / (X - X.mean(0)).square().sum() < 0.75 * before
    torch.testing.assert_close(trainer.coder.W_dec.norm(dim=1), torch.ones(D_SAE))


def test_gradients_are_clipped_together() -> None:
    """Momentum-free signs do not feel a clip, Adam's second moment does: its first is at most 0.1 of the bound."""
    trainer = CoderTrainer(made("topk"), options_of("topk", max_grad_norm=1e-3))
    trainer.step(X, X, 1e-3)
    moments = [value for name, value in trainer.state().items() if name.endswith("exp_avg")]
    assert torch.stack([value.norm() for value in moments]).norm().item() == pytest.approx(1e-4, rel=1e-4)


def test_the_moving_average_is_what_is_finished() -> None:
    plain, averaged = (CoderTrainer(made("topk"), options_of("topk", ema_decay=decay)) for decay in (None, 0.99))
    steps(plain, list(X.split(100)))
    steps(averaged, list(X.split(100)))
    for a, b in zip(plain.coder.parameters(), averaged.coder.parameters(), strict=True):
        assert torch.equal(a, b)
    averaged.finish()
    assert not torch.equal(plain.coder.W_enc, averaged.coder.W_enc)
    assert 0 < float((plain.coder.W_enc - averaged.coder.W_enc).abs().max()) < 0.05


@pytest.mark.parametrize("architecture", ["relu", "gated"])
def test_resampling_revives_dead_latents(architecture: str) -> None:
    alive: list[int] = []
    for resample_tokens in (None, 400):
        coder = made(architecture)
        coder.get_parameter("b_gate" if architecture == "gated" else "b_enc").data[:32] = -1e3
        other = TrainerOptions(
            auxk_alpha=0.0, dead_tokens=300, resample_tokens=resample_tokens, l1_coefficient=0.01, max_grad_norm=1.0
        )
        trainer = CoderTrainer(coder, other)
        steps(trainer, list(X.split(100)))
        acts, indices = coder.encode(X)
        alive.append(len(indices[acts > 0].unique()))
    assert alive[1] >= alive[0] + 16


@pytest.mark.parametrize("architecture", ["batch_topk", "matryoshka_batch_topk"])
def test_batch_topk_threshold_fires_k_latents_on_unseen_tokens(architecture: str) -> None:
    trainer = CoderTrainer(made(architecture), options_of(architecture))
    for rate in (3e-3, 3e-4):
        for batch in list(X.split(100)) * 4:
            trainer.step(batch, batch, rate)
    trainer.finish()
    acts, _ = trainer.coder.encode(planted_activations(1000, D_MODEL, 48, 3, seed=1))
    assert (acts > 0).sum(1).double().mean().item() == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize(("start", "scale"), [(3.0, 1.0), (30.0, 1.0), (8.0, 30.0)])
def test_jumprelu_reaches_its_target_from_either_side(start: float, scale: float) -> None:
    """SAELens could not lower L0 for thirteen months, whatever the coefficient."""
    x = X * scale
    coder = initial_coder_of(Form("jumprelu", D_MODEL, D_SAE, D_MODEL), x, x, 0, Initialisation(l0=start))
    trainer = CoderTrainer(coder, TrainerOptions(target_l0=8.0))
    reports = [trainer.step(batch, batch, 3e-3) for batch in list(x.split(100)) * 45]
    assert reports[0].l0 == pytest.approx(start, rel=0.3)
    assert sum(report.l0 for report in reports[-40:]) / 40 == pytest.approx(8, rel=0.15)


@pytest.mark.parametrize("architecture", ["relu", "gated"])
def test_l1_coders_reach_their_target(architecture: str) -> None:
    trainer = CoderTrainer(made(architecture), TrainerOptions(target_l0=8.0, l0_warmup_steps=200))
    reports = steps(trainer, list(X.split(100)) * 40)
    assert reports[0].l0 > 16
    assert sum(report.l0 for report in reports[-40:]) / 40 == pytest.approx(8, rel=0.15)


def test_the_target_falls_by_the_same_factor_a_step() -> None:
    """L0 stays at 32 while the target falls to 4 in ten steps, by 8 ** 0.1 each; one step follows at most e-fold."""
    control = SparsityControl(made("relu"), TrainerOptions(target_l0=4.0, l0_warmup_steps=10, l1_coefficient=0.1))
    for step in range(1, 13):
        control.update(32.0, 0.01, step)
    excess = sum(min(1.0, step / 10 * math.log(8)) for step in range(1, 11)) + 2
    assert control.coefficient == pytest.approx(0.1 * math.exp(0.3 * 0.1 * excess))


@pytest.mark.parametrize("architecture", ["topk", "gated", "jumprelu"])
def test_skip_transcoder_of_a_linear_module_needs_no_latent(architecture: str) -> None:
    """At the start it gives what a plain one gives, the mean; a linear module is learnt by the skip alone."""
    linear = torch.randn(D_MODEL, D_OUT, generator=torch.Generator().manual_seed(2)) / 4
    x = X - X.mean(0)
    y = x @ linear + 1
    widths = (32, D_SAE) if architecture.startswith("matryoshka") else ()
    plain, skip = (
        initial_coder_of(Form(architecture, D_MODEL, D_SAE, D_OUT, True, has_skip, 4, widths), x, y, 0)
        for has_skip in (False, True)
    )
    assert torch.equal(plain(x), skip(x))
    torch.testing.assert_close(skip(x), y.mean(0).expand(len(x), -1))
    trainer = CoderTrainer(skip, TrainerOptions(k=4, l1_coefficient=1.0))
    for rate in (2e-2, 2e-3):
        for batch, given in zip(list(x.split(200)) * 10, list(y.split(200)) * 10, strict=True):
            report = trainer.step(batch, given, rate)
    assert report.fvu < 0.01


def test_frozen_baselines_keep_what_is_frozen() -> None:
    for frozen, moved in (("decoder", True), ("all", False)):
        coder = made("topk")
        W_enc, W_dec = coder.W_enc.detach().clone(), coder.W_dec.detach().clone()
        steps(CoderTrainer(coder, options_of("topk", frozen=frozen)), list(X.split(100)))
        assert torch.equal(coder.W_dec, W_dec)
        assert torch.equal(coder.W_enc, W_enc) is not moved


@pytest.mark.parametrize(
    ("architecture", "wrong", "message"),
    [
        ("batch_topk", {}, "needs k"),
        ("batch_topk", {"k": 65}, "k is 65 but there are only 64 latents"),
        ("topk", {"target_l0": 5.0}, "of topk, k says how many"),
        ("relu", {"target_l0": 64.0}, "there are only 64 latents"),
        ("relu", {"multi_topk": True}, "multi_topk is of TopK coders"),
        ("topk", {"resample_tokens": 1}, "resample_tokens is of relu and gated; of topk, auxk_alpha"),
        ("relu", {"frozen": "all", "resample_tokens": 1}, "resampling would change what is frozen"),
    ],
)
def test_options_that_do_not_fit_the_coder(architecture: str, wrong: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        CoderTrainer(made(architecture), TrainerOptions(**wrong))  # pyright: ignore[reportArgumentType]


def test_options_out_of_range() -> None:
    with pytest.raises(InvalidOption, match="a transcoder's W_dec starts at 0"):
        CoderTrainer(made("topk", "transcoder"), TrainerOptions(decoder_norm="unit"))
    with pytest.raises(InvalidOption, match=r"beta1 is 1.0; it must be at least 0 and below 1"):
        TrainerOptions(beta1=1.0)
    with pytest.raises(InvalidOption, match="max_grad_norm is 0; it must be above 0"):
        TrainerOptions(max_grad_norm=0)
    with pytest.raises(InvalidOption, match="dead_tokens is 0; it must be at least 1"):
        TrainerOptions(dead_tokens=0)


def test_muon_is_refused_where_torch_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(InvalidOption, match=r"has no torch\.optim\.Muon; install torch 2.9"):
        CoderTrainer(made("topk"), options_of("topk", optimiser="muon"))
