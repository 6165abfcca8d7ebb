"""Which tasks of a stage are done, as ranges: small however many they are, since tasks end about in order."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TaskSet:
    """A set of task numbers. It takes as many ranges as there are gaps: one for each task that runs or runs again.

    A stage of ten thousand tasks changes its record ten thousand times. A list of what is done would make each of these
    changes larger than the one before; ranges keep them the same.
    """

    ranges: tuple[tuple[int, int], ...] = ()
    """First and end of each, ascending; no two of them touch."""

    @classmethod
    def of(cls, numbers: Iterable[int]) -> "TaskSet":
        """Returns the set of some numbers, in any order."""
        ranges: list[tuple[int, int]] = []
        for number in sorted(set(numbers)):
            if ranges and ranges[-1][1] == number:
                ranges[-1] = (ranges[-1][0], number + 1)
            else:
                ranges.append((number, number + 1))
        return cls(tuple(ranges))

    def add(self, number: int) -> "TaskSet":
        """Returns the set with one number more."""
        if number in self:
            return self
        at = self._after(number)
        first, end, low, high = number, number + 1, at, at
        if at > 0 and self.ranges[at - 1][1] == number:
            first, low = self.ranges[at - 1][0], at - 1
        if at < len(self.ranges) and self.ranges[at][0] == end:
            end, high = self.ranges[at][1], at + 1
        return TaskSet((*self.ranges[:low], (first, end), *self.ranges[high:]))

    def _after(self, number: int) -> int:
        """Place of the first range that begins after a number."""
        return bisect_right(self.ranges, number, key=lambda range_: range_[0])

    def __contains__(self, number: int) -> bool:
        at = self._after(number)
        return at > 0 and number < self.ranges[at - 1][1]

    def __len__(self) -> int:
        return sum(end - first for first, end in self.ranges)

    def __iter__(self) -> Iterator[int]:
        for first, end in self.ranges:
            yield from range(first, end)
