"""Where prompts are cut."""

import numpy as np
from activation.core.prompt_choice import choose, first_firings, longest_run


def _i32(*values: int) -> np.ndarray:
    return np.asarray(values, np.int32)


def test_a_block_ends_at_its_first_firing_and_knows_its_strongest() -> None:
    acts = np.asarray([1, 9, 2, 3, 4], np.float32)
    firsts = first_firings(_i32(0, 0, 0, 2, 2), _i32(1, 4, 5, 7, 8), acts, 1, 4)
    assert firsts.rows.tolist() == [0, 0, 2]
    assert firsts.starts.tolist() == [1, 5, 5]
    assert firsts.ends.tolist() == [1, 5, 7]
    assert firsts.peaks.tolist() == [9, 2, 4]
    assert firsts.activations.tolist() == [1, 2, 3]
    assert len(first_firings(_i32(), _i32(), np.empty(0, np.float32), 0, 4)) == 0


def test_the_same_position_in_the_next_row_is_another_block() -> None:
    firsts = first_firings(_i32(0, 1), _i32(3, 3), np.ones(2, np.float32), 0, 8)
    assert firsts.rows.tolist() == [0, 1]


def test_blocks_are_chosen_evenly_over_quintiles() -> None:
    n = 500
    peaks = np.random.default_rng(0).permutation(n).astype(np.float32)
    firsts = first_firings(np.arange(n, dtype=np.int32), np.zeros(n, np.int32), peaks, 0, 8)
    picked = choose(firsts, 40, 1)
    assert len(set(picked.tolist())) == 40
    assert (np.diff(picked) > 0).all()
    assert np.bincount((firsts.peaks[picked] // 100).astype(int)).tolist() == [8, 8, 8, 8, 8]
    assert picked.tolist() == choose(firsts, 40, 1).tolist() != choose(firsts, 40, 2).tolist()
    assert len(choose(firsts, 1000, 1)) == n


def test_the_longest_run_of_a_document() -> None:
    assert longest_run(_i32(-1, 3, 3, 4, 4, 4, -1, -1, -1, -1)) == (3, 6)
    assert longest_run(_i32(2, 2, 5, 5)) == (0, 2)
    assert longest_run(_i32(-1, -1)) == (0, 0)
