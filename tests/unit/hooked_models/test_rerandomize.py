"""The re-randomised weights of Heap et al. 2501.17727: matched moments, the same on every worker."""

import pytest
import torch
from hooked_models.core.rerandomize import embedding_parameters, mean_and_variance, rerandomize
from torch import nn

from tests.support.tiny import CONFIGS, tiny_model


def _shifted(name: str) -> nn.Module:
    """A model whose tensors have different means and variances."""
    model = tiny_model(name)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.1 + i) + i / 3)
    return model


@pytest.mark.parametrize("name", list(CONFIGS))
def test_mean_and_variance_of_each_tensor_are_kept_within_sampling_error(name: str) -> None:
    model = _shifted(name)
    before = {n: p.detach().clone().double() for n, p in model.named_parameters()}
    rerandomize(model, 7)
    for tensor, parameter in model.named_parameters():
        old, new = before[tensor], parameter.detach().double()
        n = old.numel()
        assert not torch.equal(old, new), f"{tensor} was not redrawn"
        deviation = float(old.std(unbiased=False))
        # Five standard errors of a mean and of a standard deviation of n Gaussian draws.
        assert abs(float(new.mean() - old.mean())) < 5 * deviation / n**0.5
        assert abs(float(new.std(unbiased=False)) / deviation - 1) < 5 / (2 * n) ** 0.5 + 1 / n


@pytest.mark.parametrize("name", list(CONFIGS))
def test_excluded_embeddings_stay_bit_identical_and_all_else_is_redrawn(name: str) -> None:
    model, all_of_it = _shifted(name), _shifted(name)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    kept = {id(p) for p in embedding_parameters(model)}
    assert id(model.get_input_embeddings().weight) in kept  # type: ignore[operator]
    assert id(model.get_output_embeddings().weight) in kept  # type: ignore[operator]
    rerandomize(model, 7, keep=embedding_parameters(model))
    rerandomize(all_of_it, 7)
    for tensor, parameter in model.named_parameters():
        assert torch.equal(parameter, before[tensor]) == (id(parameter) in kept), tensor
        if id(parameter) not in kept:
            assert torch.equal(parameter, all_of_it.get_parameter(tensor)), "the seed draws the same in both variants"


def test_positions_are_no_token_embedding() -> None:
    model = tiny_model("gpt2")
    before = model.transformer.wpe.weight.detach().clone()
    rerandomize(model, 7, keep=embedding_parameters(model))
    assert not torch.equal(model.transformer.wpe.weight, before)


def test_embeddings_that_are_not_tied_are_both_kept() -> None:
    model = tiny_model("gpt_neox")
    assert model.get_input_embeddings().weight is not model.get_output_embeddings().weight
    before = model.get_output_embeddings().weight.detach().clone()
    rerandomize(model, 7, keep=embedding_parameters(model))
    assert torch.equal(model.get_output_embeddings().weight, before)


def test_tied_embeddings_stay_tied_when_they_are_kept() -> None:
    model = tiny_model("llama")
    rerandomize(model, 7, keep=embedding_parameters(model))
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first, again, other = _shifted("llama"), _shifted("llama"), _shifted("llama")
    rerandomize(first, 1)
    torch.manual_seed(99)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rerandomize(again, 1)
    torch.set_num_threads(threads)
    rerandomize(other, 2)
    for a, b, c in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_a_tensor_does_not_depend_on_the_others() -> None:
    """The draw of a tensor hangs on the seed and its name, not on what was drawn before."""

    class Two(nn.Module):
        def __init__(self, names: list[str]) -> None:
            super().__init__()
            for name in names:
                self.register_parameter(name, nn.Parameter(torch.arange(12.0)))

    one, two = Two(["b"]), Two(["a", "b"])
    rerandomize(one, 5)
    rerandomize(two, 5)
    assert torch.equal(one.get_parameter("b"), two.get_parameter("b"))
    assert not torch.equal(two.get_parameter("a"), two.get_parameter("b"))


def test_tied_embeddings_stay_tied_and_buffers_stay() -> None:
    model = tiny_model("llama")
    buffers = {n: b.clone() for n, b in model.named_buffers()}
    before = model.get_input_embeddings().weight.detach().clone()
    rerandomize(model, 0)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert not torch.equal(before, model.get_input_embeddings().weight)
    assert buffers, "the model has buffers to compare"
    assert all(torch.equal(b, buffers[n]) for n, b in model.named_buffers())


def test_constant_tensors_stay() -> None:
    model = tiny_model("llama")
    rerandomize(model, 0)
    assert torch.equal(model.model.norm.weight, torch.ones(32))


def test_moments_are_exact() -> None:
    values = torch.randn(3_000_001, generator=torch.Generator().manual_seed(0)).numpy() + 100
    mean, variance = mean_and_variance(values)
    assert mean == pytest.approx(float(values.astype("f8").mean()), rel=1e-12)
    assert variance == pytest.approx(float(values.astype("f8").var()), rel=1e-9)
