"""Kernels are compared with plain PyTorch before they take a step: right ones pass, wrong ones are told."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sparse_coders import TopKCoder, TrainerOptions
from sparse_coders import fused_trainer as fused
from sparse_coders.kernel_check import disagreement
from sparse_coders.trainers import KernelChoice, trainer_of

from tests.unit.sparse_coders.test_fused_trainer import autoencoder, batches, transcoder


def found(coder: TopKCoder, options: TrainerOptions | None = None) -> str | None:
    x = batches()[0]
    y = x if coder.d_out == x.shape[1] else x[:, : coder.d_out] * 2 - 1
    return disagreement(fused.FusedTopKTrainer, coder, options or TrainerOptions(), x, y)


def first_transcoder() -> TopKCoder:
    """As one begins, with a decoder of 0."""
    coder = transcoder()
    coder.W_dec.data.zero_()
    return coder


@pytest.mark.parametrize("make", [autoencoder, transcoder, first_transcoder])
def test_right_kernels_agree_and_leave_the_coder_alone(make: Callable[[], TopKCoder]) -> None:
    coder, before = make(), make().state_dict()
    assert found(coder) is None
    assert found(coder, TrainerOptions(decoder_norm="free", auxk_alpha=0.0, beta1=0.8)) is None
    assert all(torch.equal(value, before[name]) for name, value in coder.state_dict().items())


def wrong_sum(right: Callable[..., Any]) -> Callable[..., Any]:
    """Loses what the last 50 latents fired for."""

    def wrong(acts: Any, latents: Any, offsets: Any, places: Any) -> None:
        right(acts, latents, offsets, places)
        offsets[150:] = offsets[150]

    return wrong


def wrong_derivative(right: Callable[..., Any]) -> Callable[..., Any]:
    """Halves the derivative of activations."""

    def wrong(*arrays: Any) -> Any:
        sums = right(*arrays)
        arrays[5][:] /= 2
        return sums

    return wrong


def wrong_auxiliary(right: Callable[..., Any]) -> Callable[..., Any]:
    """Sends the encoder of dead latents no gradient, as sparsify does."""

    def wrong(*arguments: Any) -> Any:
        rows = right(*arguments)
        return rows._replace(W_enc=torch.zeros_like(rows.W_enc))

    return wrong


def not_compiled(right: Callable[..., Any]) -> Callable[..., Any]:
    """Stands for a kernel that the device cannot compile."""

    def wrong(*arguments: Any) -> Any:
        raise RuntimeError("out of resource: shared memory,\n Required: 303104")

    return wrong


@pytest.mark.parametrize(
    ("kernel", "change", "message"),
    [
        ("pairs_by_latent", wrong_sum, r"weights\.W_enc changes by .* in plain PyTorch, here .* off that"),
        ("decode", wrong_derivative, "exp_avg changes by"),
        ("auxk_rows", wrong_auxiliary, r"W_enc changes by"),
        ("decode", not_compiled, "RuntimeError: out of resource: shared memory, Required: 303104"),
    ],
)
def test_wrong_kernels_are_told(
    monkeypatch: pytest.MonkeyPatch, kernel: str, change: Callable[[Any], Any], message: str
) -> None:
    monkeypatch.setattr(fused, kernel, change(getattr(fused, kernel)))
    said = found(autoencoder())
    assert said is not None
    assert re.search(message, said), said


@pytest.mark.parametrize(
    ("kernels", "expected"), [("auto", "compiled"), ("compiled", "compiled"), ("reference", "reference")]
)
def test_kernels_are_chosen_by_name(kernels: KernelChoice, expected: str) -> None:
    assert trainer_of(autoencoder(), TrainerOptions(), kernels).kernels == expected
    assert trainer_of(autoencoder(), TrainerOptions(multi_topk=True), kernels).kernels == "reference"
