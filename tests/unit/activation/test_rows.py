"""Which rows are read for a number of tokens, and how they become tasks."""

import numpy as np
import pytest
import torch
from activation.core.moments import Moments, merge_all
from activation.core.rows import RowTable, cut, rows_from_start, rows_in_proportion

TABLE = RowTable(ctx_len=11, has_bos=True, row_count=100, train_row_count=80)


def test_rows_are_the_fewest_whole_ones_from_the_start_of_the_split() -> None:
    assert rows_from_start(TABLE, "train", 95) == [(0, 10)]
    assert rows_from_start(TABLE, "test", 20) == [(80, 82)]
    assert rows_from_start(TABLE, "test", 21) == [(80, 83)]
    assert rows_from_start(TABLE, "all", 0) == [(0, 100)]
    assert rows_from_start(TABLE, "train", 10**9) == [(0, 80)]
    assert rows_from_start(RowTable(8, False, 5, 5), "test", 0) == []


def test_both_splits_are_read_in_proportion() -> None:
    assert rows_in_proportion(TABLE, "all", 200) == [(0, 16), (80, 84)]
    assert rows_in_proportion(TABLE, "all", 0) == [(0, 100)]
    assert rows_in_proportion(TABLE, "all", 10**9) == [(0, 100)]
    assert rows_in_proportion(TABLE, "train", 200) == [(0, 20)]
    assert rows_in_proportion(TABLE, "all", 15) == [(0, 1), (80, 81)]


def test_tasks_cover_the_ranges_and_none_spans_two() -> None:
    assert cut([(0, 16), (80, 84)], 6) == [(0, 6), (6, 12), (12, 16), (80, 84)]


def test_moments_of_parts_merge_to_those_of_the_whole() -> None:
    values = torch.randn(1000, 7, generator=torch.Generator().manual_seed(1)) * 3 + 5
    whole = Moments.of(values)
    merged = merge_all(Moments.of(part) for part in values.split([1, 500, 99, 400]))
    assert merged is not None
    assert merged.count == 1000
    np.testing.assert_allclose(merged.mean, values.double().mean(0).numpy(), rtol=1e-13)
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-13)
    assert merged.mean_norm == pytest.approx(float(values.double().norm(dim=1).mean()), rel=1e-13)
    assert merge_all([]) is None
