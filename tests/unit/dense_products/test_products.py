"""`linear` is PyTorch's, in another order of rounding at most, whatever is given to it."""

import pytest
import torch
import torch.nn.functional as F
from dense_products import linear, prefers_onednn
from torch import Tensor


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("shape", [(2, 64), (3, 5, 64), (2, 2, 2, 64), (257, 64)])
@pytest.mark.parametrize("transposed", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize("biased", [False, True], ids=["plain", "bias"])
def test_products_are_right(shape: tuple[int, ...], transposed: bool, biased: bool) -> None:
    x, bias = drawn(*shape), drawn(48) if biased else None
    weight = drawn(64, 48).T if transposed else drawn(48, 64)
    right = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
    with torch.inference_mode():
        found = linear(x, weight, bias)
    assert found.dtype == torch.float32
    assert found.shape == right.shape
    assert float((found.double() - right).abs().max()) < 64 * torch.finfo(torch.float32).eps * float(right.abs().max())


def test_rows_that_lie_apart_are_taken() -> None:
    x, weight = drawn(40, 130)[::2, 1:65], drawn(48, 64)
    with torch.inference_mode():
        torch.testing.assert_close(linear(x, weight), linear(x.contiguous(), weight), rtol=0, atol=0)


@pytest.mark.parametrize("count", [2, 3, 8, 63, 64, 100])
def test_a_row_does_not_depend_on_the_others(count: int) -> None:
    if not prefers_onednn():
        pytest.skip("on this processor the product is PyTorch's own, which promises no such thing")
    x, weight = drawn(300, 576), drawn(1536, 576)
    with torch.inference_mode():
        assert torch.equal(linear(x, weight)[:count], linear(x[:count].contiguous(), weight))


@pytest.mark.parametrize(
    ("x", "weight"),
    [
        (drawn(1, 64), drawn(48, 64)),
        (drawn(0, 64), drawn(48, 64)),
        (drawn(64), drawn(48, 64)),
        (drawn(8, 64).double(), drawn(48, 64).double()),
        (drawn(8, 64).bfloat16(), drawn(48, 64).bfloat16()),
    ],
    ids=["one row", "no row", "a vector", "float64", "bfloat16"],
)
def test_what_does_not_suit_is_left_to_pytorch(x: Tensor, weight: Tensor) -> None:
    with torch.inference_mode():
        assert torch.equal(linear(x, weight), F.linear(x, weight))


def test_gradients_and_autocast_are_left_to_pytorch() -> None:
    x, weight = drawn(8, 64), drawn(48, 64).requires_grad_()
    linear(x, weight).sum().backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, x.sum(0).expand(48, 64))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight).dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # of torch, which tells of another processor
def test_it_can_be_switched_off() -> None:
    x, weight = drawn(300, 576), drawn(1536, 576)
    with torch.inference_mode(), torch.backends.mkldnn.flags(enabled=False):
        assert torch.equal(linear(x, weight), F.linear(x, weight))
