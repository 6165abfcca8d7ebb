"""Triton's kernels give what plain PyTorch gives: on a GPU, or anywhere with TRITON_INTERPRET=1."""

import importlib.util
import os
from collections.abc import Callable

import pytest
import torch
from sparse_coders import CoderTrainer, TopKCoder, TrainerOptions, trainer_of

from tests.unit.sparse_coders.test_fused_trainer import autoencoder, batches, transcoder

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if importlib.util.find_spec("triton") is None or not (INTERPRETED or DEVICE == "cuda"):
    pytest.skip("needs Triton, and a GPU or TRITON_INTERPRET=1", allow_module_level=True)

from sparse_coders import triton_trainer  # noqa: E402
from sparse_coders.triton_kernels.selection import strongest  # noqa: E402
from sparse_coders.triton_trainer import TritonTopKTrainer  # noqa: E402


@pytest.mark.parametrize("width", [5, 1024, 3000])
def test_selection_is_exact_and_takes_the_first_of_equals(width: int) -> None:
    pre = torch.randn(6, width, generator=torch.Generator().manual_seed(width)).relu_()
    pre[1] = 0
    pre[2, 1:] = 0
    pre[3] = 0.25
    acts, latents = strongest(pre.to(DEVICE), 4)
    for row, row_acts, row_latents in zip(pre, acts.cpu(), latents.cpu(), strict=True):
        order = row.sort(descending=True, stable=True).indices[:4]
        expected = order[row[order] > 0].sort().values
        assert row_latents[: len(expected)].tolist() == expected.tolist()
        assert row_acts.tolist() == row[expected].tolist() + [0.0] * (4 - len(expected))


@pytest.mark.parametrize(
    ("coder", "options", "width"),
    [
        (autoencoder, TrainerOptions(dead_tokens=40), 24),
        (transcoder, TrainerOptions(dead_tokens=500), 10),
        (autoencoder, TrainerOptions(decoder_norm="free", beta1=0.8, beta2=0.99, auxk_alpha=0.0), 24),
    ],
)
def test_training_equals_plain_pytorch(coder: Callable[[], TopKCoder], options: TrainerOptions, width: int) -> None:
    ours, plain = TritonTopKTrainer(coder().to(DEVICE), options), CoderTrainer(coder().to(DEVICE), options)
    for x in batches()[0][:90].to(DEVICE).split(30):  # few: the interpreter is slow
        y = x if width == x.shape[1] else x[:, :width] * 2 - 1
        report, expected = ours.step(x, y, 1e-3), plain.step(x, y, 1e-3)
        assert report.loss == pytest.approx(expected.loss, abs=1e-5)
        assert (report.l0, report.dead_fraction) == pytest.approx((expected.l0, expected.dead_fraction))
    expected_state = plain.state()
    for name, value in ours.state().items():
        torch.testing.assert_close(value, expected_state[name], rtol=1e-4, atol=1e-5)


def steps(trainer: CoderTrainer) -> CoderTrainer:
    for x in batches()[0][:60].to(DEVICE).split(30):
        trainer.step(x, x, 1e-3)
    return trainer


def test_kernels_that_pass_the_check_take_every_step() -> None:
    guarded = steps(trainer_of(autoencoder().to(DEVICE), TrainerOptions(dead_tokens=40), "triton"))
    assert (guarded.kernels, guarded.kernels_refused) == ("triton", None)
    alone = steps(TritonTopKTrainer(autoencoder().to(DEVICE), TrainerOptions(dead_tokens=40))).state()
    assert all(torch.equal(value, alone[name]) for name, value in guarded.state().items())


def test_kernels_that_are_wrong_take_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    right = triton_trainer.decode

    def wrong(*tensors: torch.Tensor) -> None:
        right(*tensors)
        tensors[-1].mul_(0.5)

    monkeypatch.setattr(triton_trainer, "decode", wrong)
    guarded = steps(trainer_of(autoencoder().to(DEVICE), TrainerOptions(dead_tokens=40), "triton"))
    assert guarded.kernels == "reference"
    assert "changes by" in str(guarded.kernels_refused)
    plain = steps(CoderTrainer(autoencoder().to(DEVICE), TrainerOptions(dead_tokens=40))).state()
    assert all(torch.equal(value, plain[name]) for name, value in guarded.state().items())
