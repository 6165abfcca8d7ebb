"""Every objective's gradient against PyTorch's own, of the definition written out densely, in float64."""

import pytest
import torch
from sparse_coders import Form, Initialisation, SparseCoder, TrainerOptions, initial_coder_of
from sparse_coders.objectives import objective_of
from torch import Tensor

D_MODEL, D_SAE, K, N = 12, 64, 4, 80
BANDWIDTH, COEFFICIENT, ALPHA = 0.3, 0.7, 0.5
DEAD = torch.arange(3, 43)
WIDTHS = (8, 24, D_SAE)
FORMS = ("autoencoder", "transcoder", "skip transcoder")
ARCHITECTURES = ("topk", "multi_topk", "batch_topk", "matryoshka_batch_topk", "relu", "gated", "jumprelu")


def made(architecture: str, form: str = "autoencoder") -> tuple[SparseCoder, TrainerOptions]:
    generator = torch.Generator().manual_seed(5)
    other = form != "autoencoder"
    kind = "topk" if architecture == "multi_topk" else architecture
    widths = WIDTHS if kind.startswith("matryoshka") else ()
    shape = Form(kind, D_MODEL, D_SAE, 9 if other else D_MODEL, other, form == "skip transcoder", K, widths)
    x, y = batch(form)
    coder = initial_coder_of(shape, x, y, seed=3, initialisation=Initialisation(l0=6)).double()
    for parameter in coder.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return coder, TrainerOptions(k=K, auxk_alpha=ALPHA, multi_topk=architecture == "multi_topk")


def batch(form: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = 3 + torch.randn(N, D_MODEL, generator=generator, dtype=torch.float64)
    return (x, x) if form == "autoencoder" else (x, x[:, :9].square())


def pre_activations(coder: SparseCoder, x: Tensor) -> Tensor:
    bias = 0 if coder.architecture == "gated" else coder.get_parameter("b_enc")
    return (x if coder.transcoder else x - coder.b_dec) @ coder.W_enc.T + bias


def strongest(acts: Tensor, k: int) -> Tensor:
    return acts * (acts >= acts.topk(min(k, acts.shape[1])).values[:, -1:])


def predicted(coder: SparseCoder, x: Tensor, acts: Tensor) -> Tensor:
    given = acts @ coder.W_dec + coder.b_dec
    return given if coder.W_skip is None else given + x @ coder.W_skip.T


def fired_acts(coder: SparseCoder, options: TrainerOptions, pre: Tensor) -> Tensor:
    if coder.architecture == "topk":
        return strongest(pre.relu(), K)
    if "batch_topk" in coder.architecture:
        return pre.relu() * (pre >= pre.flatten().topk(K * N).values[-1])
    if coder.architecture == "jumprelu":
        return pre.relu() * (pre > coder.get_parameter("threshold"))
    if coder.architecture == "gated":
        open_gates = pre + coder.get_parameter("b_gate") > 0
        return open_gates * (pre * coder.get_parameter("r_mag").exp() + coder.get_parameter("b_mag")).relu()
    return pre.relu()


def definition(
    coder: SparseCoder, options: TrainerOptions, x: Tensor, y: Tensor, dead: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns loss and FVU; the derivative by JumpReLU's thresholds is left out, being none."""
    variance = (y - y.mean(0)).square().sum()
    pre = pre_activations(coder, x)
    acts = fired_acts(coder, options, pre)
    errors = [(predicted(coder, x, acts) - y)]
    if coder.architecture == "matryoshka_batch_topk":
        errors = [predicted(coder, x, acts * (torch.arange(D_SAE) < width)) - y for width in WIDTHS]
    fvu = errors[-1].square().sum() / variance
    loss = torch.stack([error.square().sum() / variance for error in errors]).mean()
    if options.multi_topk:
        loss = loss + (predicted(coder, x, strongest(pre.relu(), 4 * K)) - y).square().sum() / variance / 8
    if coder.architecture in {"relu", "gated"}:
        opening = (pre + coder.get_parameter("b_gate")).relu() if coder.architecture == "gated" else acts
        l1 = (opening * coder.W_dec.norm(dim=1)).sum(1).mean() / (variance / N).sqrt()
        loss = loss + COEFFICIENT * l1
    if coder.architecture == "gated":
        skip = 0 if coder.W_skip is None else (x @ coder.W_skip.T).detach()
        guess = opening @ coder.W_dec.detach() + coder.b_dec.detach() + skip
        loss = loss + (guess - y).square().sum() / variance
    if coder.architecture == "jumprelu":
        loss = loss + COEFFICIENT * (acts > 0).double().sum(1).mean()
    if coder.architecture not in {"relu", "gated"} and len(dead):
        k_aux = D_MODEL // 2
        dead_acts = strongest(pre[:, dead].relu(), k_aux)
        auxk = (dead_acts @ coder.W_dec[dead] + errors[-1].detach()).square().sum() / variance
        loss = loss + ALPHA * min(len(dead) / k_aux, 1.0) * auxk
    return loss, fvu


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradient_equals_autograd_of_the_definition(architecture: str, form: str) -> None:
    coder, options = made(architecture, form)
    x, y = batch(form)
    result = objective_of(coder, options).backward(x, y, DEAD, COEFFICIENT, BANDWIDTH)
    loss, fvu = definition(coder, options, x, y, DEAD)
    loss.backward()
    assert result.losses.loss.item() == pytest.approx(loss.item(), rel=1e-9)
    assert result.losses.fvu.item() == pytest.approx(fvu.item(), rel=1e-9)
    acts = fired_acts(coder, options, pre_activations(coder, x))
    assert torch.equal(result.fired, (acts > 0).any(0))
    assert result.losses.l0.item() == pytest.approx((acts > 0).sum(1).double().mean().item())
    compared = set(result.gradients) - {"threshold"}
    assert compared == {name for name, _ in coder.named_parameters()} - {"threshold"}
    for name in compared:
        expected = coder.get_parameter(name).grad
        assert expected is not None
        torch.testing.assert_close(result.gradients[name], expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("form", FORMS)
def test_jumprelu_thresholds_get_the_pseudo_derivative(form: str) -> None:
    """Rajamanoharan et al. (arXiv 2407.14435), equations 11 and 12."""
    coder, options = made("jumprelu", form)
    x, y = batch(form)
    result = objective_of(coder, options).backward(x, y, DEAD[:0], COEFFICIENT, BANDWIDTH)
    pre, threshold = pre_activations(coder, x), coder.get_parameter("threshold")
    error = predicted(coder, x, fired_acts(coder, options, pre)) - y
    by_act = 2 * error @ coder.W_dec.T / (y - y.mean(0)).square().sum()
    near = (pre - threshold).abs() < BANDWIDTH / 2
    assert near.any(0).double().mean() > 0.5
    expected = -(near * (threshold * by_act + COEFFICIENT / N) / BANDWIDTH).sum(0)
    torch.testing.assert_close(result.gradients["threshold"], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("architecture", ["topk", "multi_topk", "batch_topk", "matryoshka_batch_topk", "jumprelu"])
def test_auxk_trains_the_encoder_of_dead_latents(architecture: str) -> None:
    """sparsify's fused encoder drops this gradient, so that a dead latent cannot come back."""
    coder, options = made(architecture)
    if architecture == "jumprelu":
        coder.get_parameter("threshold").data[DEAD] = 1e6
    else:
        coder.get_parameter("b_enc").data[DEAD] -= 2.0
    objective = objective_of(coder, options)
    x, y = batch("autoencoder")
    with_aux = objective.backward(x, y, DEAD, 0.0, BANDWIDTH)
    without = objective.backward(x, y, DEAD[:0], 0.0, BANDWIDTH)
    assert (with_aux.gradients["W_enc"] - without.gradients["W_enc"])[DEAD].abs().max() > 1e-6


def test_multi_topk_trains_the_encoder_beyond_k_and_counts_k() -> None:
    coder, options = made("multi_topk")
    x, y = batch("autoencoder")
    plain = objective_of(coder, TrainerOptions()).backward(x, y, DEAD[:0], 0.0, 0.0)
    multi = objective_of(coder, options).backward(x, y, DEAD[:0], 0.0, 0.0)
    assert multi.losses.l0.item() == plain.losses.l0.item() == K
    assert torch.equal(multi.fired, plain.fired)
    beyond = ~plain.fired
    assert beyond.any()
    assert multi.gradients["W_enc"][beyond].abs().max() > 1e-6


@pytest.mark.parametrize("architecture", ["topk", "batch_topk", "matryoshka_batch_topk"])
def test_selected_latents_at_zero_get_no_gradient_and_did_not_fire(architecture: str) -> None:
    """sparsify sends gradient through picks whose relu is 0 and counts them as fired."""
    coder, options = made(architecture)
    coder.get_parameter("b_enc").data[2:] = -1e6
    x, y = batch("autoencoder")
    result = objective_of(coder, options).backward(x, y, DEAD[:0], 0.0, 0.0)
    assert 0 < result.losses.l0.item() <= 2
    assert not result.fired[2:].any()
    for name in ("W_enc", "b_enc", "W_dec"):
        assert result.gradients[name][2:].abs().max() == 0


def test_batch_topk_is_the_same_in_tiles_and_keeps_exactly_the_strongest(monkeypatch: pytest.MonkeyPatch) -> None:
    coder, options = made("batch_topk")
    x, y = batch("autoencoder")
    whole = objective_of(coder, options).backward(x, y, DEAD[:0], 0.0, 0.0)
    monkeypatch.setattr("sparse_coders.objectives.selection._LEAST_HEIGHT", 7)
    monkeypatch.setattr("sparse_coders.objectives.selection.tile_height", lambda *_: 7)
    tiled = objective_of(coder, options).backward(x, y, DEAD[:0], 0.0, 0.0)
    assert whole.losses.l0.item() == tiled.losses.l0.item() == K
    torch.testing.assert_close(whole.gradients, tiled.gradients, rtol=1e-9, atol=1e-12)
    assert whole.least_act is not None
    acts = pre_activations(coder, x).flatten()
    torch.testing.assert_close(whole.least_act, acts.topk(K * N).values[-1])


def test_dense_objectives_are_the_same_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    for architecture in ("relu", "gated", "jumprelu"):
        coder, options = made(architecture, "skip transcoder")
        x, y = batch("skip transcoder")
        whole = objective_of(coder, options).backward(x, y, DEAD, COEFFICIENT, BANDWIDTH)
        with monkeypatch.context() as patch:
            patch.setattr("sparse_coders.objectives.dense._LEAST_HEIGHT", 7)
            patch.setattr("sparse_coders.objectives.dense.tile_height", lambda *_: 7)
            tiled = objective_of(coder, options).backward(x, y, DEAD, COEFFICIENT, BANDWIDTH)
        torch.testing.assert_close(whole.gradients, tiled.gradients, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(whole.losses, tiled.losses, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_frozen_parameters_get_no_gradient(architecture: str) -> None:
    coder, _ = made(architecture)
    x, y = batch("autoencoder")
    decoder = objective_of(coder, TrainerOptions(k=K, frozen="decoder")).backward(x, y, DEAD, COEFFICIENT, BANDWIDTH)
    assert "W_dec" not in decoder.gradients
    assert "W_enc" in decoder.gradients
    everything = objective_of(coder, TrainerOptions(k=K, frozen="all")).backward(x, y, DEAD, COEFFICIENT, BANDWIDTH)
    assert everything.gradients == {}
    assert everything.losses.fvu.item() == pytest.approx(decoder.losses.fvu.item())
