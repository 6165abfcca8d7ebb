"""The coder that training starts from."""

import pytest
import torch
from sparse_coders import Form, Initialisation, InvalidOption, initial_coder_of
from sparse_coders.initial import geometric_median

X = 3 + torch.randn(400, 12, generator=torch.Generator().manual_seed(0))
Y = X[:, :7] * 2 - 5
SAE = Form("topk", 12, 40, 12, k=4)
TRANSCODER = Form("topk", 12, 40, 7, transcoder=True, skip=True, k=4)


def test_an_autoencoder_is_tied_around_the_mean() -> None:
    coder = initial_coder_of(SAE, X, X, seed=1)
    torch.testing.assert_close(coder.b_dec, X.mean(0))
    torch.testing.assert_close(coder.W_dec, coder.W_enc / coder.W_enc.norm(dim=1, keepdim=True))
    assert coder.get_parameter("b_enc").abs().max() == 0
    assert coder.W_enc.abs().max() <= 12**-0.5
    assert torch.equal(coder.W_enc, initial_coder_of(SAE, X, X, seed=1).W_enc)
    assert not torch.equal(coder.W_enc, initial_coder_of(SAE, X, X, seed=2).W_enc)


@pytest.mark.parametrize("architecture", ["topk", "relu", "gated", "jumprelu"])
def test_a_transcoder_starts_as_the_mean_of_what_it_predicts(architecture: str) -> None:
    coder = initial_coder_of(Form(architecture, 12, 40, 7, True, True, 4), X, Y, seed=1)
    assert coder.W_dec.abs().max() == 0
    assert coder.W_skip is not None
    assert coder.W_skip.abs().max() == 0
    torch.testing.assert_close(coder(X), Y.mean(0).expand(400, -1))
    bias = coder.get_parameter("b_gate" if architecture == "gated" else "b_enc")
    torch.testing.assert_close((X @ coder.W_enc.T + bias).mean(0), torch.zeros(40), atol=1e-5, rtol=0)


def test_other_decoders() -> None:
    rows = initial_coder_of(SAE, X, X, 1, Initialisation(decoder="random")).W_dec
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(40))
    assert initial_coder_of(SAE, X, X, 1, Initialisation(decoder="zero")).W_dec.abs().max() == 0
    with pytest.raises(InvalidOption, match="a tied decoder is as wide as the encoder, 12, not 7"):
        initial_coder_of(TRANSCODER, X, Y, 1, Initialisation(decoder="tied"))


def test_the_geometric_median_is_not_drawn_away() -> None:
    """One token in twenty of a great norm moves the mean by 50, and the least summed distance hardly."""
    x = torch.cat([X, torch.full((20, 12), 1000.0)])
    coder = initial_coder_of(SAE, x, x, 1, Initialisation(b_dec="geometric_median"))
    assert (coder.b_dec - 3).abs().max() < 0.3
    assert (initial_coder_of(SAE, x, x, 1).b_dec - 3).abs().min() > 40
    assert initial_coder_of(SAE, x, x, 1, Initialisation(b_dec="zero")).b_dec.abs().max() == 0

    def distance(point: torch.Tensor) -> float:
        return float((x.double() - point).norm(dim=1).sum())

    best = geometric_median(x.double())
    for step in torch.eye(12).double() * 1e-2:
        assert distance(best) < min(distance(best + step), distance(best - step))


def test_a_median_that_is_one_of_the_rows() -> None:
    rows = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(geometric_median(rows), rows[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("l0", [2.0, 10.0])
def test_jumprelu_starts_at_the_l0_asked_for(l0: float) -> None:
    coder = initial_coder_of(Form("jumprelu", 12, 40, 12), X, X, 1, Initialisation(l0=l0))
    acts, _ = coder.encode(X)
    assert (acts > 0).sum(1).double().mean().item() == pytest.approx(l0, abs=0.01)
