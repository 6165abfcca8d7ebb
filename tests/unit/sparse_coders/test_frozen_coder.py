"""Coders that are only run: the latents of the definition, whatever else is in the batch; when there are none."""

from collections.abc import Generator

import pytest
import torch
from sparse_coders import ReLUCoder, TopKCoder, frozen, initial_coder
from sparse_coders.frozen_topk_coder import FrozenTopKCoder
from torch import Tensor

N = 700


@pytest.fixture
def threads() -> Generator[None]:
    """Puts the number of PyTorch's threads back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def coder_and_activations(d_sae: int = 1000, k: int = 8) -> tuple[TopKCoder, Tensor]:
    x = 2 + torch.randn(N, 48, generator=torch.Generator().manual_seed(0))
    return initial_coder(48, d_sae, k, x, seed=1), x


def dense(coder: TopKCoder, x: Tensor) -> Tensor:
    return torch.zeros(len(x), coder.d_sae).scatter_(1, *reversed(coder.encode(x)))


def test_the_same_latents_and_activations_to_within_rounding() -> None:
    coder, x = coder_and_activations()
    fast = FrozenTopKCoder(coder)
    acts, indices = fast.encode(x)
    assert (acts.diff() <= 0).all(), "the strongest first"
    assert all(len(set(row)) == coder.k for row in indices.tolist())
    expected = dense(coder, x)
    torch.testing.assert_close(dense(fast, x), expected, rtol=1e-5, atol=1e-5 * float(expected.max()))
    torch.testing.assert_close(fast(x), coder(x), rtol=1e-5, atol=1e-5)
    assert fast.W_dec.data_ptr() == coder.W_dec.data_ptr(), "weights are shared"


def test_a_token_is_encoded_alike_in_any_company_by_any_number_of_threads(threads: None) -> None:
    coder, x = coder_and_activations(4096)
    torch.set_num_threads(1)
    whole = FrozenTopKCoder(coder).encode(x)
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        fast = FrozenTopKCoder(coder)
        for start, end in ((0, 1), (3, 70), (17, N), (0, N)):
            some = fast.encode(x[start:end])
            assert torch.equal(some.acts, whole.acts[start:end])
            assert torch.equal(some.indices, whole.indices[start:end])


def test_of_equal_latents_the_lower_ones_are_taken() -> None:
    coder, x = coder_and_activations()
    coder.W_enc.data[:] = coder.W_enc.data[:1].abs()
    _, indices = FrozenTopKCoder(coder).encode(x + 10)
    assert indices.tolist() == [list(range(coder.k))] * N


def test_transcoders_no_tokens_and_activations_that_are_not_contiguous() -> None:
    x = torch.randn(48, 30, generator=torch.Generator().manual_seed(0)).T
    coder = TopKCoder(48, 200, 4, d_out=5, transcoder=True, skip=True)
    for value in coder.parameters():
        value.data.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(1)))
    fast = FrozenTopKCoder(coder)
    torch.testing.assert_close(fast(x), coder(x), rtol=1e-5, atol=1e-4)
    acts, indices = fast.encode(x[:0])
    assert acts.shape == indices.shape == (0, 4)


def test_what_cannot_be_searched_fast_is_the_coder_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    coder, _ = coder_and_activations(64)
    name = "sparse_coders.kernels.rounded_encoder.has_fast_bfloat16"
    monkeypatch.setattr(name, lambda: True)
    assert isinstance(frozen(coder), FrozenTopKCoder)
    relu, wide = ReLUCoder(4, 8), coder_and_activations(64)[0].double()
    assert frozen(relu) is relu
    assert frozen(wide) is wide
    monkeypatch.setattr(name, lambda: False)
    assert frozen(coder) is coder
    monkeypatch.setattr(name, lambda: True)
    monkeypatch.setattr("sparse_coders.freezing.has_numba", lambda: False)
    assert frozen(coder) is coder
