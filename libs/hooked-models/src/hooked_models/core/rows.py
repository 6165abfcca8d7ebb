"""Which rows of a tokens artifact a job reads, and how they are cut into tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RowRange = tuple[int, int]


@dataclass(frozen=True, slots=True)
class RowTable:
    """How the rows of a tokens artifact lie: the train split first, then the test split."""

    ctx_len: int
    has_bos: bool
    row_count: int
    train_row_count: int

    @classmethod
    def of(cls, statistics: Mapping[str, Any]) -> "RowTable":
        """Reads the statistics of a tokens manifest."""
        return cls(
            int(statistics["ctx_len"]),
            bool(statistics["has_bos"]),
            int(statistics["row_count"]),
            int(statistics["train_row_count"]),
        )

    @property
    def tokens_per_row(self) -> int:
        """Tokens of a full row, BOS not counted."""
        return self.ctx_len - int(self.has_bos)

    def bounds(self, split: str) -> RowRange:
        """First and end row of "all", "train" or "test"."""
        if split == "train":
            return 0, self.train_row_count
        return (self.train_row_count, self.row_count) if split == "test" else (0, self.row_count)


def rows_from_start(table: RowTable, split: str, max_tokens: int) -> list[RowRange]:
    """Returns the fewest whole rows, from the split's start, that hold `max_tokens` tokens; 0 means all."""
    first, end = table.bounds(split)
    if max_tokens:
        end = min(end, first + -(-max_tokens // table.tokens_per_row))
    return [(first, end)] if end > first else []


def rows_in_proportion(table: RowTable, split: str, max_tokens: int) -> list[RowRange]:
    """As `rows_from_start`, but for "all" rows are taken from the start of both splits, in their proportion."""
    ranges = rows_from_start(table, split, max_tokens)
    test_row_count = table.row_count - table.train_row_count
    if split != "all" or not ranges or not table.train_row_count or not test_row_count:
        return ranges
    wanted = ranges[0][1]
    test = min(max(round(wanted * test_row_count / table.row_count), 1), test_row_count)
    train = min(max(wanted - test, 1), table.train_row_count)
    if train == table.train_row_count:
        return [(0, train + test)]
    return [(0, train), (table.train_row_count, table.train_row_count + test)]


def cut(ranges: Sequence[RowRange], rows_per_task: int) -> list[RowRange]:
    """Cuts ranges into tasks of at most `rows_per_task` rows; no task spans two ranges."""
    return [(at, min(at + rows_per_task, end)) for first, end in ranges for at in range(first, end, rows_per_task)]
