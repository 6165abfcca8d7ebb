"""A set of done tasks is a set, and stays small."""

import random

import pytest
from dragoman.jobs import JobRecord, JobState, StageRecord
from dragoman.records import job_from_bytes, job_to_bytes
from dragoman.task_set import TaskSet
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.integers(0, 40), max_size=60))
def test_it_is_a_set_whatever_the_order(numbers: list[int]) -> None:
    grown = TaskSet()
    for number in numbers:
        grown = grown.add(number)
    assert list(grown) == sorted(set(numbers))
    assert len(grown) == len(set(numbers))
    assert [n in grown for n in range(-1, 42)] == [n in set(numbers) for n in range(-1, 42)]
    assert grown == TaskSet.of(numbers), "the same set has one form"
    assert all(a[1] < b[0] for a, b in zip(grown.ranges, grown.ranges[1:], strict=False)), "no two ranges touch"


@pytest.mark.parametrize("task_count", [1_000, 50_000])
def test_a_record_grows_with_the_tasks_that_run_and_not_with_those_that_are_done(task_count: int) -> None:
    """Eight workers take tasks in order and end them in any."""
    draw = random.Random(0)
    waiting, running, done, largest = iter(range(task_count)), set[int](), TaskSet(), 0
    for _ in range(900):
        running |= {next(waiting) for _ in range(8 - len(running))}
        ended = draw.choice(sorted(running))
        running.remove(ended)
        done = done.add(ended)
        largest = max(largest, len(job_to_bytes(_job(task_count, done))))
    assert largest < len(job_to_bytes(_job(task_count, TaskSet()))) + 9 * len("[50000,50000],")


def _job(task_count: int, done: TaskSet) -> JobRecord:
    stages = (StageRecord("encode", task_count, done), StageRecord("index", 1))
    return JobRecord("latents-1", "latents", "activation", JobState.RUNNING, {}, {}, stages=stages)


def test_it_is_read_back_as_it_was_written() -> None:
    job = _job(10, TaskSet.of([0, 1, 2, 7]))
    read = job_from_bytes(job_to_bytes(job), 0)
    assert read.stages[0].done == job.stages[0].done
    assert not read.stages[0].complete
