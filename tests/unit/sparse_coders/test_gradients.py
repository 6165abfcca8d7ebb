"""The written-out gradient against PyTorch's own, of the dense formula."""

import pytest
import torch
from sparse_coders import TopKCoder, gradients, initial_coder
from torch import Tensor


def dense_loss(coder: TopKCoder, x: Tensor, dead: Tensor | None = None, alpha: float = 0.0) -> tuple[Tensor, Tensor]:
    """The definition: every pre-activation, a mask for top-k, dense products, for autograd to differentiate."""
    acts = ((x - coder.b_dec) @ coder.W_enc.T + coder.b_enc).relu()
    threshold = acts.topk(coder.k).values[:, -1:]
    kept = acts * (acts >= threshold)
    error = kept @ coder.W_dec + coder.b_dec - x
    variance = (x - x.mean(0)).square().sum()
    fvu = error.square().sum() / variance
    if dead is None:
        return fvu, fvu
    k_aux = coder.d_model // 2
    dead_acts = acts[:, dead]
    if len(dead) > k_aux:
        dead_acts = dead_acts * (dead_acts >= dead_acts.topk(k_aux).values[:, -1:])
    scale = min(len(dead) / k_aux, 1.0)
    aux = scale * (dead_acts @ coder.W_dec[dead] + error.detach()).square().sum() / variance
    return fvu + alpha * aux, fvu


def random_coder(d_model: int, d_sae: int, k: int) -> TopKCoder:
    generator = torch.Generator().manual_seed(5)
    coder = initial_coder(d_model, d_sae, k, torch.zeros(1, d_model), seed=3).double()
    for parameter in coder.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return coder


def activations(n: int, d_model: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return 3 + torch.randn(n, d_model, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("d_model", "d_sae", "k", "n"), [(8, 32, 4, 50), (24, 96, 1, 7), (16, 20, 20, 30), (5, 300, 9, 200)]
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gradient_equals_autograd_of_the_dense_formula(
    d_model: int, d_sae: int, k: int, n: int, dtype: torch.dtype
) -> None:
    coder, x = random_coder(d_model, d_sae, k).to(dtype), activations(n, d_model).to(dtype)
    result = gradients(coder, x)
    loss, _ = dense_loss(coder, x)
    loss.backward()
    assert result.losses.fvu.item() == pytest.approx(loss.item(), rel=1e-5)
    for name, parameter in coder.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(result.gradients._asdict()[name], parameter.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dead_count", [1, 5, 40])
def test_auxk_gradient_equals_autograd_and_reaches_the_encoder(dead_count: int) -> None:
    coder, x = random_coder(12, 64, 4), activations(80, 12)
    dead = torch.arange(3, 3 + dead_count)
    result = gradients(coder, x, dead, auxk_alpha=0.5)
    total, fvu = dense_loss(coder, x, dead, 0.5)
    total.backward()
    assert (result.losses.fvu + 0.5 * result.losses.auxk).item() == pytest.approx(total.item(), rel=1e-9)
    assert result.losses.fvu.item() == pytest.approx(fvu.item(), rel=1e-9)
    for name, parameter in coder.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(result.gradients._asdict()[name], parameter.grad, rtol=1e-9, atol=1e-9)
    without = gradients(coder, x).gradients
    if dead_count > 1:  # a single one may be below 0 for every token
        assert (result.gradients.W_enc - without.W_enc)[dead].abs().max() > 1e-4


def test_selected_latents_at_zero_take_no_part() -> None:
    """peers: sparsify sends gradient through picks whose relu is 0 and counts them as fired."""
    coder, x = random_coder(8, 32, 30), activations(40, 8)
    coder.b_enc.data[:16] = -1e6
    result = gradients(coder, x)
    assert result.losses.l0.item() <= 16
    assert not result.fired[:16].any()
    assert result.gradients.b_enc[:16].abs().max() == 0
    assert result.gradients.W_enc[:16].abs().max() == 0
    assert result.gradients.W_dec[:16].abs().max() == 0


def test_batches_higher_than_a_tile_are_the_sum_of_their_tiles() -> None:
    coder, x = random_coder(4, 60_000, 2), activations(130, 4)
    dense = ((x - coder.b_dec) @ coder.W_enc.T + coder.b_enc).relu().topk(2)
    acts, indices = coder.encode(x)
    torch.testing.assert_close(acts, dense.values)
    assert torch.equal(indices, dense.indices)
