"""What training finds: planted dictionaries, and latents that are used."""

from typing import Any

import pytest
import torch
from sae_trainer.coder_setup import options_of
from sae_trainer.core.run_length import run_of
from sae_trainer.spec import CoderSpec
from sparse_coders import CoderTrainer, Form, Initialisation, SparseCoder, TrainerOptions, initial_coder_of
from torch import Tensor

from tests.unit.sparse_coders.planted import planted_activations, planted_dictionary

D_MODEL, ATOMS, ACTIVE = 64, 48, 3
REVIVED = {"auxk_alpha": 1.0, "dead_tokens": 500, "epochs": 5}
"""Chosen for this dictionary and so short a run; what defaults find: benchmarks/recovery.py, docs/methods.md."""


def trained(form: Form, x: Tensor, rate: float, epochs: int, options: TrainerOptions) -> SparseCoder:
    """Trains with a decay over the last third."""
    coder = initial_coder_of(form, x[:4000], x[:4000], 0, Initialisation(l0=options.target_l0))
    trainer = CoderTrainer(coder, options)
    batches = list(x.split(250)) * epochs
    for step, batch in enumerate(batches):
        trainer.step(batch, batch, rate * min(1.0, (len(batches) - step) / (0.3 * len(batches))))
    trainer.finish()
    return coder


def recovered(architecture: str, d_sae: int, rate: float = 1e-2, epochs: int = 3, **options: Any) -> float:
    """Returns the mean over atoms of the largest cosine with a decoder row (MMCS)."""
    x = planted_activations(20_000, D_MODEL, ATOMS, ACTIVE)
    form = Form(architecture, D_MODEL, d_sae, D_MODEL, k=ACTIVE, widths=(d_sae // 2, d_sae))
    options.setdefault("dead_tokens", 2000)
    coder = trained(form, x, rate, epochs, TrainerOptions(**options))
    rows = torch.nn.functional.normalize(coder.W_dec.detach(), dim=1)
    return float((planted_dictionary(D_MODEL, ATOMS) @ rows.T).max(1).values.mean())


@pytest.mark.parametrize(
    ("architecture", "options", "least"),
    [
        ("topk", {"rate": 2e-3, "epochs": 5}, 0.95),
        ("topk", {"multi_topk": True}, 0.95),
        ("relu", {"target_l0": 4.0}, 0.95),
        ("batch_topk", {"k": ACTIVE, **REVIVED, "rate": 5e-3}, 0.95),
        ("matryoshka_batch_topk", {"k": ACTIVE, **REVIVED}, 0.95),
        ("gated", {"target_l0": 3.0, "resample_tokens": 5000, "epochs": 5}, 0.95),
        ("jumprelu", {"target_l0": 3.0, **REVIVED}, 0.95),
    ],
)
def test_a_planted_dictionary_is_recovered_at_the_right_width(
    architecture: str, options: dict[str, Any], least: float
) -> None:
    assert recovered(architecture, ATOMS, **options) >= least


def test_it_is_not_recovered_at_half_the_width_or_with_a_frozen_decoder() -> None:
    assert recovered("topk", ATOMS // 2) < 0.8
    assert recovered("topk", ATOMS, frozen="decoder") < 0.4


def correlated(n: int, seed: int) -> Tensor:
    """Returns tokens with a large mean and a variance that falls off over directions, as a residual stream has."""
    generator, fixed = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(7)
    mix, mean = torch.randn(32, 32, generator=fixed), 20 * torch.randn(32, generator=fixed)
    scale = torch.arange(1.0, 33.0).rsqrt()
    return mean + (torch.randn(n, 32, generator=generator) * scale) @ mix


@pytest.mark.parametrize("architecture", ["topk", "batch_topk", "matryoshka_batch_topk", "relu", "gated", "jumprelu"])
def test_defaults_leave_few_latents_unused(architecture: str) -> None:
    """SAELens' defaults leave 72 % of a TopK coder's latents unused after 200,000 tokens of a language model."""
    x, held_out = correlated(25_000, 0), correlated(2_000, 1)
    target = 8.0 if architecture in {"relu", "gated", "jumprelu"} else None
    form = Form(architecture, 32, 256, 32, k=8, widths=(64, 256))
    sparsity = {"k": 8} if target is None else {"target_l0": target}
    fields = {"activations_id": "activations-" + "0" * 32, "architecture": architecture, "d_sae": 256, **sparsity}
    spec = CoderSpec.model_validate({**fields, "batch_tokens": 250, "epochs": 2})
    run = run_of(spec, 32, len(x))
    coder = trained(form, x, run.peak_learning_rate, 2, options_of(spec, run, 0))
    acts, indices = coder.encode(held_out)
    assert len(indices[acts > 0].unique()) > 0.65 * 256
    fvu = (coder(held_out) - held_out).square().sum() / (held_out - held_out.mean(0)).square().sum()
    assert fvu < (0.95 if architecture == "relu" else 0.5)  # at this L0, the L1 penalty shrinks nearly everything
