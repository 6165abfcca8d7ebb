"""Quotas, from the records of jobs."""

from dataclasses import replace

import pytest
from dragoman.errors import ResourceExhausted
from dragoman.jobs import JobRecord, JobState
from dragoman.principals import Limits, Principal, Role
from dragoman.quotas import check

NOW = 1_000_000.0
JOB = JobRecord("probe-1", "probe", "probe", JobState.WAITING, {}, {}, principal="ana", namespace="lab")
RUNNING = replace(JOB, state=JobState.RUNNING)
DONE = replace(JOB, state=JobState.SUCCEEDED, end_time=NOW - 100, stored_bytes=600, llm_tokens=1000)
OLD = replace(DONE, end_time=NOW - 80_000, stored_bytes=0)
OLDEST = replace(OLD, end_time=NOW - 90_000)


def _ana(**limits: int) -> Principal:
    return Principal("ana", Role.SUBMIT, Limits(**limits), "lab")


@pytest.mark.parametrize(
    ("limits", "jobs", "expected", "seconds"),
    [
        ({"max_open_jobs": 2}, [JOB, RUNNING, DONE], "ana has 2 jobs that are not done and may have 2", 30),
        ({"max_queued_jobs": 1}, [JOB, RUNNING], "1 jobs that wait or are queued", 30),
        ({"max_running_jobs": 1}, [JOB, RUNNING], "1 jobs that run", 30),
        ({"max_bytes": 1200}, [DONE, DONE], "1200 bytes in artifacts", 3600),
        ({"max_llm_tokens": 1500}, [DONE, OLD], "2000 language-model tokens of the last 24 hours", 6400),
        ({"max_llm_tokens": 1000}, [DONE, OLD], "2000 language-model tokens", 86_300),
        ({"max_llm_tokens": 5}, [replace(RUNNING, llm_tokens=5)], "5 language-model tokens", 3600),
        ({"max_open_jobs": 0}, [], "0 jobs that are not done and may have 0", 30),
    ],
)
def test_what_is_reached_is_refused_with_when_to_try_again(
    limits: dict[str, int], jobs: list[JobRecord], expected: str, seconds: int
) -> None:
    with pytest.raises(ResourceExhausted, match=expected) as caught:
        check(_ana(**limits), jobs, NOW)
    assert (caught.value.reason, caught.value.retry_seconds) == ("QUOTA", seconds)


@pytest.mark.parametrize(
    ("limits", "jobs"),
    [
        ({"max_open_jobs": 2}, [JOB, DONE]),
        ({"max_queued_jobs": 1, "max_running_jobs": 2}, [RUNNING]),
        ({"max_bytes": 601}, [DONE]),
        ({"max_llm_tokens": 1001}, [DONE, OLDEST]),
        ({"max_open_jobs": 1}, [replace(JOB, principal="bob"), replace(JOB, namespace="other")]),
    ],
)
def test_what_is_below_or_somebody_elses_is_not_counted(limits: dict[str, int], jobs: list[JobRecord]) -> None:
    check(_ana(**limits), jobs, NOW)
