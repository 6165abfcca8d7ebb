"""The matching of directions against scipy's dense Hungarian method, and what makes it hard."""

from collections.abc import Generator
from typing import TypeVar

import numpy as np
import pytest
import torch
from sae_trainer.core import matching
from sae_trainer.core.matching import Matching, match, unit_rows
from sae_trainer.core.shared_latents import match_directions, overlap_of
from scipy.optimize import linear_sum_assignment
from torch import Tensor

T = TypeVar("T")


def result(steps: Generator[object, None, T]) -> T:
    """Runs a generator to its end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def directions(n: int, d: int, seed: int) -> Tensor:
    return unit_rows(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)))


def partly_shared(n: int, m: int, d: int) -> tuple[Tensor, Tensor]:
    """A third of the smaller set is near a direction of the other one."""
    a, b = directions(n, d, 0), directions(m, d, 1)
    count = min(n, m) // 3
    places = torch.randperm(m, generator=torch.Generator().manual_seed(2))[:count]
    b[places] = 0.8 * a[:count] + 0.6 * b[places]
    return a, unit_rows(b)


def repeated(n: int, m: int, d: int) -> tuple[Tensor, Tensor]:
    """Ten directions, each many times: whole classes of pairs are equal."""
    return directions(10, d, 0).repeat(n // 10, 1), directions(10, d, 1).repeat(m // 10, 1)


@pytest.mark.parametrize(
    ("make", "n", "m", "d"),
    [
        (partly_shared, 512, 512, 64),
        (partly_shared, 300, 512, 64),
        (partly_shared, 512, 300, 64),
        (partly_shared, 500, 500, 3),
        (partly_shared, 7, 1, 3),
        (partly_shared, 1, 1, 3),
        (repeated, 400, 400, 16),
        (repeated, 200, 300, 16),
    ],
)
def test_it_is_the_best_matching_of_all(make: object, n: int, m: int, d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "_BLOCK_BYTES", 100 * 4 * m)  # several blocks
    monkeypatch.setattr(matching, "_CANDIDATES", 8)  # several rounds
    a, b = make(n, m, d)  # type: ignore[operator]
    found = result(match(a, b))
    cosines = (a @ b.T).double().numpy()
    rows, columns = linear_sum_assignment(-cosines)
    assert found.cosine.sum() == pytest.approx(cosines[rows, columns].sum(), abs=1e-6 * min(n, m))
    taken = found.match[found.match >= 0]
    assert len(taken) == len(set(taken)) == min(n, m)
    kept = np.flatnonzero(found.match >= 0)
    np.testing.assert_allclose(found.cosine[kept], cosines[kept, taken], atol=1e-6)
    np.testing.assert_allclose(found.nearest_cosine, cosines.max(1), atol=1e-6)
    np.testing.assert_allclose(found.other_nearest_cosine, cosines.max(0), atol=1e-6)
    if make is partly_shared:
        assert np.array_equal(found.match[rows], columns)
        assert np.array_equal(found.nearest, cosines.argmax(1))


def test_without_its_proof_it_would_be_a_worse_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "_CANDIDATES", 4)
    a, b = partly_shared(512, 512, 64)
    best = result(match(a, b)).cosine.sum()
    monkeypatch.setattr(matching, "TOLERANCE", 10.0)  # nothing improves by so much: the first matching is the last
    assert result(match(a, b)).cosine.sum() < best - 0.01


def test_rows_of_0_are_in_no_pair() -> None:
    a, b = directions(200, 16, 0), directions(200, 16, 0)
    a[:50], b[50:90] = 0, 0
    found = result(match_directions(a, b))
    assert (found.match[:90] == -1).sum() >= 50
    assert (found.match[:50] == -1).all()
    assert np.array_equal(found.match[90:], np.arange(90, 200))
    assert not set(found.match.tolist()) & set(range(50, 90))
    assert (found.cosine[found.match == -1] == 0).all()
    overlap = overlap_of(found, found, 0.99)
    assert (overlap.shared_count, overlap.without_direction_count) == (110, 90)
    nothing: Matching = result(match_directions(torch.zeros(3, 4), torch.zeros(5, 4)))
    assert overlap_of(nothing, nothing, 0.7).shared_fraction == 0
