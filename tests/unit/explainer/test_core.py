"""Selection, samples, prompts and replies."""

import hashlib

import numpy as np
import pytest
from explainer.core.default import VERSION, prompt
from explainer.core.example import Example, marked_text, marked_tokens, mask, strength, strengths_text
from explainer.core.explainers import EXPLAINERS
from explainer.core.reply import parse
from explainer.core.sampling import sample
from explainer.core.selection import evenly_spaced, may_have_windows, selected
from hypothesis import given
from hypothesis import strategies as st
from latent_cache.layout import LatentIndex

WINDOW = Example(
    [" the", " meeting", " was", " on", " Monday", " or", " May", "\n", " 3"],
    np.asarray([0, 0.1, 0, 0, 2.0, 0, 0.61, 0.0, 0.6], np.float32),
)


def index_of(train: list[int], test: list[int]) -> LatentIndex:
    counts = np.asarray(train, np.int64), np.asarray(test, np.int64)
    total, zeros = counts[0] + counts[1], np.zeros(len(train), np.float32)
    offsets = np.concatenate([[0], np.cumsum(total)])
    starts = np.asarray([0, len(train)], np.int64)
    return LatentIndex(
        offsets, starts, total, *counts, zeros, zeros, zeros, np.zeros((len(train), 11), np.float32), zeros
    )


def test_marks_are_above_three_tenths_of_the_windows_maximum() -> None:
    assert mask(WINDOW.activations).tolist() == [False] * 4 + [True, False, True, False, False]
    assert marked_text(WINDOW) == "the meeting was on<< Monday>> or<< May>>\\n 3"


def test_strengths_are_those_of_the_paper() -> None:
    assert [strength(a, 2.0) for a in (2.0, 1.81, 1.8, 0.01)] == [10, 10, 9, 1]
    assert strength(3.0, 2.0) == 10
    assert strengths_text(WINDOW, 4.0) == "(Monday 5, May 2)"


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_strengths_are_from_one_to_ten(activation: float, strongest: float) -> None:
    assert 1 <= strength(activation, strongest) <= 10


def test_at_most_ten_strengths_are_listed_the_strongest_in_order_of_appearance() -> None:
    example = Example([f" w{i}" for i in range(12)], np.linspace(1.0, 2.0, 12, dtype=np.float32))
    shown = strengths_text(example, 2.0)
    assert shown.count("w") == 10
    assert shown.startswith("(w2 ")
    assert shown.endswith("w11 10)")


def test_the_last_line_names_each_marked_token_once_the_strongest_first() -> None:
    other = Example([" May", " was"], np.asarray([3.0, 0.0], np.float32))
    assert marked_tokens([WINDOW, other]) == "May, Monday"
    assert marked_tokens([Example(["\n "], np.ones(1, np.float32))]) == "\\n"
    assert marked_tokens([Example(["  "], np.ones(1, np.float32))]) == "'  '"


def test_a_prompt_is_a_fixed_beginning_and_the_windows() -> None:
    one, two = prompt([WINDOW]), prompt([WINDOW, WINDOW])
    assert (one.instructions, one.shots) == (two.instructions, two.shots)
    assert one.question == (
        "- the meeting was on<< Monday>> or<< May>>\\n 3\n  (Monday 10, May 4)\nMarked tokens: Monday, May"
    )
    for asked, answered in one.shots:
        assert "\nMarked tokens: " in asked
        assert parse(answered, "stop").outcome == "explained"
    assert one.text().endswith(one.question)


def test_a_changed_prompt_needs_a_new_version() -> None:
    """When this fails you changed what the model reads: raise VERSION and put the new sum here."""
    assert EXPLAINERS["default"].version == VERSION == "default-1"
    assert hashlib.sha256(prompt([WINDOW]).text().encode()).hexdigest()[:16] == PROMPT_SUM


PROMPT_SUM = "cc84c368c7344889"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[EXPLANATION]: names of months", "names of months"),
        ("Let me see.\n[EXPLANATION]: names of months\n", "names of months"),
        ("[explanation] : names of months", "names of months"),
        ("**[EXPLANATION]:** *names of months*", "names of months"),
        ("[EXPLANATION]:\nnames of months\nand more", "names of months"),
        ("Explanation: names of months", "names of months"),
        ('[EXPLANATION]: "names of months"', "names of months"),
        ("[EXPLANATION]: a first thought\n[EXPLANATION]: names of months", "names of months"),
        ("<think>[EXPLANATION]: no\n</think>[EXPLANATION]: names of months", "names of months"),
        ("[EXPLANATION]: names of months\n[EXPLANATION]:", "names of months"),
        ("[EXPLANATION]: the word 'of'", "the word 'of'"),
        ("[EXPLANATION]: 'of' and 'to'", "'of' and 'to'"),
    ],
)
def test_replies_that_hold_an_explanation(text: str, expected: str) -> None:
    reply = parse(text, "stop")
    assert (reply.outcome, reply.explanation) == ("explained", expected)


@pytest.mark.parametrize(
    ("text", "finish", "outcome", "reason"),
    [
        ("", "stop", "unparsable", "empty"),
        ("names of months", "stop", "unparsable", "no line that begins with"),
        ("[EXPLANATION]: ...", "stop", "unparsable", "nothing follows"),
        ("<think>[EXPLANATION]: months", "length", "unparsable", "empty"),
        ("the explanation is long", "length", "unparsable", "cut off"),
        ("I'm sorry, I cannot help with that.", "stop", "refused", "declined"),
        ("[EXPLANATION]: I cannot say what this is.", "stop", "refused", "declined"),
        ("[EXPLANATION]: months", "content_filter", "refused", "filter"),
    ],
)
def test_replies_that_hold_none_have_a_name_and_a_reason(text: str, finish: str, outcome: str, reason: str) -> None:
    reply = parse(text, finish)
    assert (reply.outcome, reply.explanation) == (outcome, None)
    assert reason in reply.reason


def test_an_explanation_that_was_cut_off_says_so() -> None:
    assert parse("[EXPLANATION]: names of", "length").reason == "cut off at max_tokens"


@given(st.lists(st.floats(0.125, 10, width=32), max_size=60), st.integers(1, 50), st.integers(0, 99))
def test_samples_are_distinct_and_strongest_first(values: list[float], count: int, seed: int) -> None:
    peaks = np.asarray(values, np.float32)
    for how in ("quantiles", "top", "random"):
        chosen = sample(peaks, count, how, seed)
        assert len(set(chosen.tolist())) == len(chosen) == min(count, len(peaks))
        assert (np.diff(peaks[chosen]) <= 0).all()
    top = sample(peaks, count, "top", seed)
    assert sorted(peaks[top], reverse=True) == sorted(peaks, reverse=True)[:count]


@given(st.integers(1, 80), st.integers(1, 20), st.sets(st.integers(0, 79)))
def test_evenly_spaced_latents_all_have_enough_windows(n: int, count: int, poor: set[int]) -> None:
    asked: list[int] = []

    def has_enough(latent: int) -> bool:
        asked.append(latent)
        return latent not in poor

    chosen = evenly_spaced(np.arange(n), count, has_enough)
    rich = sorted(set(range(n)) - poor)
    assert list(chosen) == sorted(set(chosen))
    assert set(chosen) <= set(rich)
    assert len(chosen) == min(count, len(rich)) or count > n
    assert len(asked) == len(set(asked))
    if not poor & set(range(n)) and n >= count:
        gaps = np.diff([0, *chosen, n - 1])
        assert gaps[1:-1].size == 0 or gaps[1:-1].max() - gaps[1:-1].min() <= 1


def test_ranks_are_by_falling_firing_count_with_ties_by_latent() -> None:
    index = index_of([5, 9, 5, 0, 40], [5, 1, 5, 0, 40])

    def never(_: int) -> bool:
        raise AssertionError("windows are counted for `count` only")

    assert selected(index, (), (0, 1, 4), 0, 5, never) == [4, 0, 3]
    assert selected(index, (3, 1), (), 0, 5, never) == [3, 1]
    assert selected(index, (), (), 0, 5, never) == [4, 0, 1, 2, 3]
    assert selected(index, (), (), 2, 5, lambda latent: latent != 4) == [0, 2]
    assert may_have_windows(index, 5).tolist() == [True, False, True, False, True]
