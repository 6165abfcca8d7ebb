"""Training: against plain autograd with torch's Adam, on planted structure, resumed, and with dead latents."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from sparse_coders import MalformedCoder, TopKTrainer, initial_coder

from tests.unit.sparse_coders.planted import planted_activations


def test_steps_equal_plain_autograd_with_adam() -> None:
    """Six steps of the definition: unit rows, projected gradient, torch.optim.Adam, dense formula."""
    x = planted_activations(600, 16, 64, 3)
    ours, plain = (initial_coder(16, 64, 4, x, seed=0) for _ in range(2))
    trainer = TopKTrainer(ours, auxk_alpha=0.0)
    adam = torch.optim.Adam(plain.parameters(), lr=1e-3, foreach=False)
    for batch in x.split(100):
        trainer.step(batch, 1e-3)
        acts = ((batch - plain.b_dec) @ plain.W_enc.T + plain.b_enc).relu()
        kept = acts * (acts >= acts.topk(4).values[:, -1:])
        loss = (kept @ plain.W_dec + plain.b_dec - batch).square().sum() / (batch - batch.mean(0)).square().sum()
        adam.zero_grad()
        loss.backward()
        W_dec = plain.W_dec
        assert W_dec.grad is not None
        W_dec.grad -= (W_dec.grad * W_dec.data).sum(1, keepdim=True) * W_dec.data
        adam.step()
        W_dec.data /= W_dec.data.norm(dim=1, keepdim=True)
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_learns_planted_structure() -> None:
    x = planted_activations(20_000, 32, 48, 3)
    held_out = planted_activations(2_000, 32, 48, 3, seed=1)
    coder = initial_coder(32, 96, 3, x[:1000], seed=0)
    trainer = TopKTrainer(coder, dead_tokens=20_000)
    for _ in range(4):
        for batch in x.split(250):
            report = trainer.step(batch, 3e-3)
    variance = (held_out - held_out.mean(0)).square().sum()
    fvu = ((coder(held_out) - held_out).square().sum() / variance).item()
    assert fvu < 0.12  # the mean predictor has 1; three directions of a random dictionary leave above 0.6
    assert report.fvu == pytest.approx(fvu, rel=0.3)
    torch.testing.assert_close(coder.W_dec.norm(dim=1), torch.ones(96))


def test_state_resumes_bit_for_bit(tmp_path: Path) -> None:
    x = planted_activations(1200, 16, 48, 3)
    batches = x.split(100)
    straight = TopKTrainer(initial_coder(16, 64, 4, x, seed=0), dead_tokens=150)
    first = TopKTrainer(initial_coder(16, 64, 4, x, seed=0), dead_tokens=150)
    reports = [straight.step(batch, 1e-3) for batch in batches]
    for batch in batches[:5]:
        first.step(batch, 1e-3)
    save_file(first.state(), tmp_path / "state.safetensors")
    second = TopKTrainer(initial_coder(16, 64, 4, x + 1, seed=9), dead_tokens=150)
    second.load_state(load_file(tmp_path / "state.safetensors"))
    assert [second.step(batch, 1e-3) for batch in batches[5:]] == reports[5:]
    assert max(report.dead_fraction for report in reports) > 0  # the auxiliary loss took part
    for a, b in zip(straight.coder.parameters(), second.coder.parameters(), strict=True):
        assert torch.equal(a, b)


def test_state_of_another_coder_is_refused() -> None:
    x = planted_activations(50, 16, 48, 3)
    state = TopKTrainer(initial_coder(16, 32, 4, x, seed=0)).state()
    with pytest.raises(MalformedCoder, match=r"weights.W_enc is \[32, 16\]; expected \[64, 16\]"):
        TopKTrainer(initial_coder(16, 64, 4, x, seed=0)).load_state(state)


def test_auxk_revives_dead_latents() -> None:
    """Half of the latents start so far below 0 that only the auxiliary loss can reach their encoder rows."""
    x = planted_activations(6000, 32, 64, 3)
    alive = {}
    for alpha in (0.0, 1 / 32):
        coder = initial_coder(32, 128, 3, x, seed=0)
        coder.b_enc.data[:64] = -0.5
        trainer = TopKTrainer(coder, auxk_alpha=alpha, dead_tokens=400)
        for _ in range(5):
            for batch in x.split(200):
                trainer.step(batch, 3e-3)
        acts, indices = coder.encode(x)
        alive[alpha] = len(indices[acts > 0].unique())
    assert alive[1 / 32] > alive[0.0] + 20
