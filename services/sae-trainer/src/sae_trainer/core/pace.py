"""How fast a run is, and how long it will still take."""

from collections import deque

_WINDOW_SECONDS = 30.0


class Pace:
    """Tokens per second over the last half minute. Times are given, in seconds of any clock that only rises."""

    def __init__(self, now: float, token_count: int) -> None:
        """`token_count`: trained on before."""
        self._marks = deque([(now, token_count)])

    def mark(self, now: float, token_count: int) -> None:
        """Takes note of how many tokens were trained on by now."""
        self._marks.append((now, token_count))
        while len(self._marks) > 2 and self._marks[1][0] < now - _WINDOW_SECONDS:
            self._marks.popleft()

    @property
    def tokens_per_second(self) -> float:
        """0 before anything was trained on."""
        (start, before), (end, after) = self._marks[0], self._marks[-1]
        return (after - before) / (end - start) if end > start else 0.0

    def seconds_left(self, total: int) -> float | None:
        """Returns the time until `total` tokens at this pace; None while it is not known."""
        rate = self.tokens_per_second
        return (total - self._marks[-1][1]) / rate if rate else None
