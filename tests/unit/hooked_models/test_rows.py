"""Which rows are read for a number of tokens, and how they become tasks."""

from hooked_models.core.rows import RowTable, cut, rows_from_start, rows_in_proportion

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
