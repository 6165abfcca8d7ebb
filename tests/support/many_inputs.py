"""Fuzzing: a check run with many inputs. FUZZ_INPUTS says how many, a slice of them where it says nothing."""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

INPUTS = int(os.environ.get("FUZZ_INPUTS", "10"))


def many(*strategies: st.SearchStrategy[Any], share: float = 1.0) -> Callable[[Callable[..., None]], None]:
    """Calls a function with so many inputs, the same ones each time where they are few.

    Args:
        strategies: Of its arguments.
        share: How many of INPUTS, for what takes long.
    """

    def run(check: Callable[..., None]) -> None:
        quiet = settings(
            max_examples=max(1, round(INPUTS * share)),
            deadline=None,
            database=None,
            derandomize=INPUTS < 1000,
            suppress_health_check=list(HealthCheck),
        )
        quiet(given(*strategies)(check))()

    return run
