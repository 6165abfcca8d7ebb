"""Moments of activations against numpy, far from zero and merged in any order."""

import random

import numpy as np
import pytest
import torch
from activation.core.moments import Moments, merge_all
from activation.moments_file import read_task, task_bytes


def _planted() -> torch.Tensor:
    """Deviations of 0.1 to 10 around means of up to 10^6: the sum of squares alone would lose them."""
    generator = torch.Generator().manual_seed(1)
    means = torch.tensor([0.0, 5.0, -300.0, 1e6])
    scales = torch.tensor([1.0, 0.1, 10.0, 1.0])
    return torch.randn(3000, 4, generator=generator, dtype=torch.float64) * scales + means


def _assert_those_of(found: Moments | None, values: torch.Tensor) -> None:
    assert found is not None
    data = values.double().numpy()
    norms = np.linalg.norm(data, axis=1)
    assert found.count == len(data)
    np.testing.assert_allclose(found.mean, data.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.variance, data.var(0), rtol=1e-8)
    assert found.norm_mean == pytest.approx(norms.mean(), rel=1e-12)
    assert found.norm_std == pytest.approx(norms.std(), rel=1e-8)
    assert (found.norm_min, found.norm_max) == (pytest.approx(norms.min()), pytest.approx(norms.max()))


def test_moments_are_numpys() -> None:
    _assert_those_of(Moments.of(_planted()), _planted())
    _assert_those_of(Moments.of(_planted()[:1]), _planted()[:1])
    half = torch.randn(500, 6, generator=torch.Generator().manual_seed(2)).to(torch.float16)
    _assert_those_of(Moments.of(half), half)


@pytest.mark.parametrize("seed", range(4))
def test_parts_merge_to_the_whole_in_any_order_and_nesting(seed: int) -> None:
    values, rng = _planted(), random.Random(seed)
    parts = [Moments.of(part) for part in values.split([1, 500, 99, 1400, 1, 999])]
    while len(parts) > 1:
        one, other = parts.pop(rng.randrange(len(parts))), parts.pop(rng.randrange(len(parts)))
        parts.append(one.merge(other))
    _assert_those_of(parts[0], values)


def test_nothing_merges_to_nothing() -> None:
    assert merge_all([]) is None


def test_a_task_says_nothing_of_a_hookpoint_without_tokens() -> None:
    moments = Moments.of(_planted())
    found = read_task(task_bytes(["a", "b.input"], {"a": None, "b.input": moments}), ["a", "b.input"])
    assert list(found) == ["b.input"]
    _assert_those_of(found["b.input"], _planted())
