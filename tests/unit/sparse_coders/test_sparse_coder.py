"""Every architecture against its definition written out densely, and what all coders have in common."""

from collections.abc import Callable

import pytest
import torch
from sparse_coders import (
    BatchTopKCoder,
    GatedCoder,
    InvalidShape,
    JumpReLUCoder,
    MatryoshkaCoder,
    ReLUCoder,
    SparseCoder,
    TopKCoder,
)
from torch import Tensor

D_MODEL, D_SAE = 12, 40
WIDTHS: dict[str, int] = {"d_model": D_MODEL, "d_sae": D_SAE}


def filled(coder: SparseCoder) -> SparseCoder:
    generator = torch.Generator().manual_seed(3)
    for parameter in coder.parameters():
        parameter.data.normal_(generator=generator).mul_(0.4)
    return coder


def tokens(count: int = 700) -> Tensor:
    return 1 + torch.randn(count, D_MODEL, generator=torch.Generator().manual_seed(1))


def dense(coder: SparseCoder, x: Tensor) -> Tensor:
    acts, indices = coder.encode(x)
    return torch.zeros(len(x), coder.d_sae).scatter_add_(1, indices, acts)


def topk(pre: Tensor, _: SparseCoder) -> Tensor:
    values, where = pre.relu().topk(5)
    return torch.zeros_like(pre).scatter(1, where, values)


DEFINITIONS: dict[type[SparseCoder], Callable[[Tensor, SparseCoder], Tensor]] = {
    ReLUCoder: lambda pre, _: pre.relu(),
    JumpReLUCoder: lambda pre, coder: torch.where(pre > coder.get_parameter("threshold"), pre, 0).relu(),
    BatchTopKCoder: lambda pre, coder: torch.where(pre > coder.get_parameter("threshold"), pre, 0).relu(),
    MatryoshkaCoder: lambda pre, coder: torch.where(pre > coder.get_parameter("threshold"), pre, 0).relu(),
    TopKCoder: topk,
}


def made(kind: type[SparseCoder], **options: int | bool) -> SparseCoder:
    own = {TopKCoder: {"k": 5}, MatryoshkaCoder: {"widths": (10, D_SAE)}}.get(kind, {})
    return filled(kind(**WIDTHS, **own, **options))


@pytest.mark.parametrize("form", ["autoencoder", "transcoder", "skip transcoder"])
@pytest.mark.parametrize("kind", [*DEFINITIONS, GatedCoder])
def test_definition(kind: type[SparseCoder], form: str) -> None:
    other = {"transcoder": True, "d_out": 7, "skip": form == "skip transcoder"}
    coder = made(kind, **({} if form == "autoencoder" else other))
    x = tokens()
    product = (x if coder.transcoder else x - coder.b_dec) @ coder.W_enc.T
    if isinstance(coder, GatedCoder):
        gate = product + coder.b_gate > 0
        acts = torch.where(gate, (product * coder.r_mag.exp() + coder.b_mag).relu(), 0)
    else:
        acts = DEFINITIONS[kind](product + coder.get_parameter("b_enc"), coder)
    assert 0.02 < float((acts > 0).double().mean()) < 0.9
    output = acts @ coder.W_dec + coder.b_dec
    if coder.W_skip is not None:
        output += x @ coder.W_skip.T
    torch.testing.assert_close(dense(coder, x), acts, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(coder(x), output, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [*DEFINITIONS, GatedCoder])
def test_a_token_is_encoded_the_same_in_any_company(kind: type[SparseCoder]) -> None:
    coder, x = made(kind), tokens()
    whole = dense(coder, x)
    parts = torch.cat([dense(coder, part) for part in x.split(300)])
    assert torch.equal(whole[:600], parts[:600])
    torch.testing.assert_close(whole, parts, rtol=0, atol=0)


def test_what_fired_is_padded_to_the_most_latents_of_a_token() -> None:
    coder, x = made(JumpReLUCoder), tokens()
    acts, indices = coder.encode(x)
    assert acts.shape == indices.shape
    assert acts.shape[1] == int((acts > 0).sum(1).max())
    fired = [row[row_acts > 0].tolist() for row, row_acts in zip(indices, acts, strict=True)]
    assert all(len(set(latents)) == len(latents) for latents in fired)
    coder.get_parameter("threshold").data.fill_(1e9)
    silent = coder.encode(x)
    assert (silent.acts.shape, int(silent.acts.count_nonzero())) == ((700, 1), 0)
    torch.testing.assert_close(coder(x), coder.b_dec.expand(700, -1))
    assert coder.encode(x[:0]).acts.shape == (0, 1)


def test_what_is_not_a_number_stays_visible() -> None:
    x = tokens(3)
    x[1, 4] = torch.nan
    for kind in (*DEFINITIONS, GatedCoder):
        assert made(kind).encode(x).acts[1].isnan().any(), kind


def test_wrong_shapes() -> None:
    with pytest.raises(InvalidShape, match="only a transcoder has another width out"):
        ReLUCoder(**WIDTHS, d_out=7)
    with pytest.raises(InvalidShape, match="only a transcoder has another width out or a skip"):
        GatedCoder(**WIDTHS, skip=True)
    with pytest.raises(
        InvalidShape, match=r"the nested widths are \[10, 39\]; they must rise, the last one to d_sae 40"
    ):
        MatryoshkaCoder(**WIDTHS, widths=(10, 39))
    skip = made(TopKCoder, transcoder=True, skip=True)
    with pytest.raises(InvalidShape, match="decode needs x"):
        skip.decode(*skip.encode(tokens(2)))
    with pytest.raises(InvalidShape, match=r"this coder takes \[n, 12\]"):
        skip.encode(tokens(2)[:, :5])
