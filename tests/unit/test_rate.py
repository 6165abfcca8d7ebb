"""How fast a task gets on, as it is told."""

import pytest
from dragoman.worker.watch import Rate


def test_what_comes_at_once_is_not_the_rate_of_what_comes_after() -> None:
    rate = Rate()
    rate.add(0.0, 100.0)
    for n in range(1, 2001):  # answers that were stored
        rate.add(float(n), 104.0 + n / 26_000)
        assert rate.value == 0.0
    for n in range(1, 11):
        rate.add(2000.0 + n, 104.0 + 2000 / 26_000 + 0.5 * n)
        assert rate.value in (0.0, pytest.approx(2.0))
    assert rate.value == pytest.approx(2.0)


def test_only_the_last_ten_seconds_count() -> None:
    rate = Rate()
    for second in range(30):
        rate.add(float(second if second < 15 else 15 + 4 * (second - 15)), float(second))
    assert rate.value == pytest.approx(4.0)
    rate.add(3.0, 30.0)
    assert rate.value == 0.0, "a task that begins anew is not known yet"


def test_units_that_come_together_after_a_pause_took_the_pause() -> None:
    rate = Rate()
    for units, second in enumerate((0.0, 5.0, 20.0, 20.01), start=1):
        rate.add(float(units), second)
    assert rate.value == pytest.approx(2.0 / 15.01)
