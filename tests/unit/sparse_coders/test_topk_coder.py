"""Encoding and decoding: the definition, determinism, sizes."""

import pytest
import torch
from sparse_coders import InvalidShape, TopKCoder, initial_coder


def coder_and_activations(
    d_model: int = 48, d_sae: int = 200, k: int = 8, n: int = 500
) -> tuple[TopKCoder, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = 2 + torch.randn(n, d_model, generator=generator)
    return initial_coder(d_model, d_sae, k, x, seed=1), x


def test_encode_and_decode_are_the_definition() -> None:
    coder, x = coder_and_activations()
    acts, indices = coder.encode(x)
    dense = ((x - coder.b_dec) @ coder.W_enc.T + coder.b_enc).relu()
    torch.testing.assert_close(acts, dense.topk(coder.k).values)
    kept = torch.zeros_like(dense).scatter_(1, indices, acts)
    torch.testing.assert_close(coder.decode(acts, indices), kept @ coder.W_dec + coder.b_dec)
    torch.testing.assert_close(coder(x), coder.decode(acts, indices))


@pytest.mark.parametrize("count", [1, 3, 63, 64, 65, 257, 499])
def test_a_token_is_encoded_alike_in_any_company(count: int) -> None:
    coder, x = coder_and_activations(d_model=64, d_sae=4096, n=1200)
    whole = coder.encode(x)
    for start in (0, 17, 700):
        some = coder.encode(x[start : start + count])
        assert torch.equal(some.acts, whole.acts[start : start + count])
        assert torch.equal(some.indices, whole.indices[start : start + count])


def test_equal_latents_are_settled_the_same_way_each_time() -> None:
    coder, x = coder_and_activations()
    coder.W_enc.data[:] = coder.W_enc.data[:1]
    first, second = coder.encode(x), coder.encode(x)
    assert torch.equal(first.indices, second.indices)
    assert all(len(set(row)) == coder.k for row in first.indices.tolist())


def test_fewer_positive_latents_than_k_leaves_zeros() -> None:
    coder, x = coder_and_activations()
    coder.b_enc.data[:] = -1e6
    coder.b_enc.data[7] = 1e6
    acts, indices = coder.encode(x)
    assert (acts[:, 0] > 0).all()
    assert (indices[:, 0] == 7).all()
    assert (acts[:, 1:] == 0).all()


def test_half_precision_activations_are_converted() -> None:
    coder, x = coder_and_activations()
    half = x.to(torch.bfloat16)
    assert coder.encode(half).acts.dtype == torch.float32
    assert torch.equal(coder.encode(half).acts, coder.encode(half.float()).acts)


def test_no_tokens() -> None:
    coder, x = coder_and_activations()
    acts, indices = coder.encode(x[:0])
    assert acts.shape == indices.shape == (0, coder.k)
    assert coder.decode(acts, indices).shape == (0, coder.d_model)


def test_wrong_sizes_say_so() -> None:
    coder, _ = coder_and_activations()
    with pytest.raises(InvalidShape, match=r"\(3, 49\); this coder takes \[n, 48\]"):
        coder.encode(torch.zeros(3, 49))
    with pytest.raises(InvalidShape, match="k is 9 but there are only 8 latents"):
        TopKCoder(4, 8, 9)
    with pytest.raises(InvalidShape, match="at least 1"):
        TopKCoder(0, 8, 1)


def test_batches_higher_than_a_tile_are_encoded_as_their_tokens() -> None:
    coder, x = coder_and_activations(4, 60_000, 2, 130)
    coder, x = coder.double(), x.double()
    dense = ((x - coder.b_dec) @ coder.W_enc.T + coder.b_enc).relu().topk(2)
    acts, indices = coder.encode(x)
    torch.testing.assert_close(acts, dense.values)
    assert torch.equal(indices, dense.indices)
