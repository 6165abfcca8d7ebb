"""The compiled search: the k strongest latents by exact pre-activations, whatever finds them."""

import math

import pytest
import torch
from sparse_coders.kernels import encoder_search
from sparse_coders.kernels.encoder_search import EncoderSearch
from sparse_coders.kernels.rounded_encoder import RoundedEncoder
from sparse_coders.kernels.shortlist import settle_lists
from sparse_coders.kernels.workers import Workers
from torch import Tensor

Found = tuple[Tensor, Tensor]
SEARCHES = ("all rounded", "parts rounded", "parts in float32")


@pytest.fixture(autouse=True)
def seven_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """403 latents come 64 at a time."""
    monkeypatch.setattr(encoder_search, "_PART_BYTES", 1)


def found(x: Tensor, W_enc: Tensor, b_enc: Tensor, k: int, search: str) -> Found:
    """Latents of each token, and their activations."""
    acts, latents = torch.full((len(x), k), -1.0), torch.full((len(x), k), -1)
    if search != "all rounded":
        EncoderSearch(W_enc, b_enc, k, search == "parts rounded").strongest(Workers(), x, acts, latents)
        return acts, latents
    encoder = RoundedEncoder(W_enc, b_enc)
    for start in range(0, len(x), encoder.tile_rows):
        rows = slice(start, start + encoder.tile_rows)
        encoder.strongest(x[rows], acts[rows], latents[rows])
    return acts, latents


def by_definition(x: Tensor, W_enc: Tensor, b_enc: Tensor, k: int) -> Found:
    """Every pre-activation computed exactly (k = d_sae leaves none out), sorted; of equal ones the lower latent."""
    d_sae = len(W_enc)
    acts, latents = found(x, W_enc, b_enc, d_sae, "parts in float32")
    dense = torch.zeros_like(acts).scatter_(1, latents, acts)
    torch.testing.assert_close(dense, torch.addmm(b_enc, x, W_enc.T).relu_(), rtol=1e-5, atol=1e-5 * float(dense.max()))
    order = torch.sort(dense, dim=1, descending=True, stable=True)
    return order.values[:, :k], order.indices[:, :k]


def random_case(name: str) -> tuple[Tensor, Tensor, Tensor, int]:
    generator = torch.Generator().manual_seed(len(name))
    x = torch.randn(300, 24, generator=generator)
    W_enc, b_enc = torch.randn(403, 24, generator=generator), torch.randn(403, generator=generator)
    if name == "latents closer to each other than bfloat16 can tell":
        W_enc = 1 + W_enc * 1e-4
        b_enc = b_enc * 1e-6
    if name == "rows of very different size":
        W_enc = W_enc * torch.logspace(-4, 3, 403)[:, None]
        x[:, 3] *= 100
    if name == "equal latents":
        W_enc[:] = W_enc[torch.arange(403) % 7]
        b_enc[:] = 0.5
    if name == "few above 0":
        b_enc = b_enc - 12
    if name == "none above 0":
        b_enc = torch.full((403,), -1e3)
    if name == "tokens of 0":
        x[:] = 0
    return x, W_enc, b_enc, 9


@pytest.mark.parametrize(
    "name",
    [
        "random",
        "latents closer to each other than bfloat16 can tell",
        "rows of very different size",
        "equal latents",
        "few above 0",
        "none above 0",
        "tokens of 0",
    ],
)
@pytest.mark.parametrize("search", SEARCHES)
def test_the_strongest_are_those_of_the_definition_bit_for_bit(name: str, search: str) -> None:
    x, W_enc, b_enc, k = random_case(name)
    acts, latents = found(x, W_enc, b_enc, k, search)
    expected_acts, expected_latents = by_definition(x, W_enc, b_enc, k)
    assert torch.equal(acts, expected_acts)
    fired = acts > 0
    assert torch.equal(latents[fired], expected_latents[fired])
    assert all(len(set(row)) == k for row in latents.tolist())


def test_a_list_too_short_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latents that bfloat16 cannot tell apart are more than a list has room for; others are not."""
    short: list[int] = []
    monkeypatch.setattr(encoder_search, "settle_lists", lambda *given: short.append(settle_lists(*given)) or short[-1])
    found(*random_case("latents closer to each other than bfloat16 can tell"), "parts rounded")
    assert sum(short) > 100
    short.clear()
    found(*random_case("random"), "parts rounded")
    assert sum(short) == 0


@pytest.mark.parametrize("search", SEARCHES)
def test_what_is_not_a_number_stays_so(search: str) -> None:
    x, W_enc, b_enc, k = random_case("random")
    x[5, 2] = math.nan
    acts, _ = found(x, W_enc, b_enc, k, search)
    assert acts[5].isnan().all()
    assert not acts[:5].isnan().any()
    W_enc[400] = math.nan
    assert found(x[:2], W_enc, b_enc, k, search)[0].isnan().all()
