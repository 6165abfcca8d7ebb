"""Which latents are chosen."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from latent_cache.latent_choice import chosen_latents


def test_latents_by_name_by_rank_by_count_or_all() -> None:
    ranking = np.asarray([4, 2, 0, 1, 3])
    enough = np.asarray([True, True, True, False, True])
    assert chosen_latents(ranking, enough, [3, 0], [], 0) == [3, 0]
    assert chosen_latents(ranking, enough, [], [0, 4], 0) == [4, 3]
    assert chosen_latents(ranking, enough, [], [], 2) == [2, 1]
    assert chosen_latents(ranking, enough, [], [], 0) == [4, 2, 0, 1]
    assert chosen_latents(ranking, enough, [], [], 99) == [4, 2, 0, 1]
    assert chosen_latents(ranking, np.zeros(5, np.bool_), [], [], 0) == []


@given(st.integers(1, 80), st.integers(1, 20))
def test_a_count_takes_the_middles_of_equal_stretches(n: int, count: int) -> None:
    chosen = chosen_latents(np.arange(n), np.ones(n, np.bool_), [], [], count)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(count, n)
    gaps = np.diff(chosen)
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 1
