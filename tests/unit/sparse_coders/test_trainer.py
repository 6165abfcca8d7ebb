"""Training: against plain autograd with torch's Adam, on planted structure, and with dead latents."""

import pytest
import torch
from sparse_coders import CoderTrainer, TrainerOptions, initial_coder

from tests.unit.sparse_coders.planted import planted_activations


def test_steps_equal_plain_autograd_with_adam() -> None:
    """Six steps of the definition: unit rows, projected gradient, torch.optim.Adam, dense formula."""
    x = planted_activations(600, 16, 64, 3)
    ours, plain = (initial_coder(16, 64, 4, x, seed=0) for _ in range(2))
    trainer = CoderTrainer(ours, TrainerOptions(auxk_alpha=0.0))
    adam = torch.optim.Adam(plain.parameters(), lr=1e-3, foreach=False)
    for batch in x.split(100):
        trainer.step(batch, batch, 1e-3)
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
    trainer = CoderTrainer(coder, TrainerOptions(dead_tokens=20_000))
    for _ in range(4):
        for batch in x.split(250):
            report = trainer.step(batch, batch, 3e-3)
    variance = (held_out - held_out.mean(0)).square().sum()
    fvu = ((coder(held_out) - held_out).square().sum() / variance).item()
    assert fvu < 0.12  # the mean predictor has 1; three directions of a random dictionary leave above 0.6
    assert report.fvu == pytest.approx(fvu, rel=0.3)
    torch.testing.assert_close(coder.W_dec.norm(dim=1), torch.ones(96))


def test_auxk_revives_dead_latents() -> None:
    """Half of the latents start so far below 0 that only the auxiliary loss can reach their encoder rows."""
    x = planted_activations(6000, 32, 64, 3)
    alive = {}
    for alpha in (0.0, 1 / 32):
        coder = initial_coder(32, 128, 3, x, seed=0)
        coder.b_enc.data[:64] = -0.5
        trainer = CoderTrainer(coder, TrainerOptions(auxk_alpha=alpha, dead_tokens=400))
        for _ in range(5):
            for batch in x.split(200):
                trainer.step(batch, batch, 3e-3)
        acts, indices = coder.encode(x)
        alive[alpha] = len(indices[acts > 0].unique())
    assert alive[1 / 32] > alive[0.0] + 20
