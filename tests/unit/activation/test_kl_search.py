"""The search for the strength that moves the next token by a given KL."""

import numpy as np
import pytest
from activation.core.kl_search import KlSearch
from numpy.typing import NDArray

TARGETS = (0.1, 0.33, 1.0, 3.0)


def _run(search: KlSearch, kl_of: "NDArray[np.float64]", ceiling: float = np.inf) -> int:
    steps = 0
    while search.open.any():
        search.tell(np.minimum(kl_of * search.strengths() ** 2, ceiling))
        steps += 1
    return steps


def test_every_latent_and_target_is_reached_within_the_tolerance() -> None:
    scale = np.logspace(-6, 4, 9)[:, None] * np.ones((1, 4))
    search = KlSearch(9, TARGETS, 0.1, 10)
    assert _run(search, scale) <= 10
    assert search.converged.all()
    np.testing.assert_allclose(search.kl, np.broadcast_to(TARGETS, (9, 4)), rtol=0.1)
    np.testing.assert_allclose(scale * search.found**2, search.kl)


def test_a_target_above_what_any_strength_gives_is_not_said_to_be_reached() -> None:
    search = KlSearch(1, TARGETS, 0.1, 10)
    assert _run(search, np.full((1, 4), 0.01), ceiling=0.5) == 10
    assert search.converged.tolist() == [[True, True, False, False]]
    assert search.kl[0, 2:].tolist() == [0.5, 0.5]


def test_steps_end_the_search_with_the_nearest_strength_so_far() -> None:
    search = KlSearch(1, (1.0,), 0.001, 3)
    tried: list[float] = []
    while search.open.any():
        tried.append(float(search.strengths()[0, 0]))
        search.tell(search.strengths() ** 2)
    assert tried == pytest.approx([10**0.5, 10**-1.25, 10**-0.375])
    assert search.found[0, 0] == pytest.approx(10**-0.375)
    assert not search.converged.any()


def test_a_kl_that_is_not_finite_is_too_much() -> None:
    search = KlSearch(1, (1.0,), 0.1, 20)
    while search.open.any():
        strength = search.strengths()
        search.tell(np.where(strength > 2, np.nan, strength**2))
    assert search.converged.all()
    assert search.found[0, 0] == pytest.approx(1, rel=0.06)


def test_a_latent_without_effect_ends_too() -> None:
    search = KlSearch(2, (1.0,), 0.1, 12)
    assert _run(search, np.asarray([[0.0], [1.0]])) == 12
    assert search.converged.tolist() == [[False], [True]]
