"""Selection, samples, prompts and replies."""

import hashlib
import math
from dataclasses import fields

import numpy as np
import pytest
from explainer.core.default import VERSION, prompt
from explainer.core.evidence import Evidence
from explainer.core.example import Example, marked_text, marked_tokens, mask, strength, strengths_text
from explainer.core.explainers import EXPLAINERS
from explainer.core.reply import parse
from explainer.core.sampling import sample
from hypothesis import given
from hypothesis import strategies as st
from latent_cache import ExampleRecord, LatentIndex
from latent_cache.quantiles import quantile_of
from latent_cache.source import strongest_of

WINDOW = Example(
    [" the", " meeting", " was", " on", " Monday", " or", " May", "\n", " 3"],
    np.asarray([0, 0.1, 0, 0, 2.0, 0, 0.61, 0.0, 0.6], np.float32),
)


def index_of(train: list[int], test: list[int]) -> LatentIndex:
    """Of latents that fire once in each window."""
    count = len(train)
    total = np.asarray(train) + np.asarray(test)
    bounds = np.concatenate([[0], np.cumsum(total)])
    counted = {"firing_count_train": train, "window_count_train": train, "firing_count_test": test}
    given = {"ctx_len": 64, "window_length": 16, "activation_dtype": "float32", "offsets": bounds} | counted
    given |= {"window_count_test": test, "firing_count": total, "entry_byte_offsets": bounds}
    given = {name: np.asarray(v) if isinstance(v, list) else v for name, v in given.items()}
    zeros = {f.name: np.zeros(count, np.float32) for f in fields(LatentIndex) if f.name not in given}
    return LatentIndex(**given, **zeros)


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
    one, two = (prompt(Evidence(examples=[WINDOW] * n)) for n in (1, 2))
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
    assert hashlib.sha256(prompt(Evidence(examples=[WINDOW])).text().encode()).hexdigest()[:16] == PROMPT_SUM


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


def record_of(peaks: np.ndarray, per_decile: int, top_count: int) -> ExampleRecord:
    """All windows of train documents, with one activation each."""
    count = len(peaks)
    deciles = quantile_of(peaks)
    turns = [int((deciles[:i] == deciles[i]).sum()) for i in range(count)]
    top = np.zeros(count, np.bool_)
    top[np.argsort(-peaks, kind="stable")[:top_count]] = True
    places = np.arange(count)
    return ExampleRecord(
        latent=0, window_length=4, maximum=float(peaks.max(initial=1)), rows=places, starts=places.astype(np.int32),
        documents=places.astype(np.int32), test=np.zeros(count, np.bool_), top=top,
        sampled=np.asarray(turns, np.int64) < per_decile, deciles=deciles, tokens=np.zeros((count, 4), np.int32),
        first_activations=np.arange(count + 1), offsets=np.zeros(count, np.int32), activations=peaks,
    )  # fmt: skip


@given(st.lists(st.floats(0.125, 10, width=32), max_size=60), st.integers(1, 50), st.integers(0, 99), st.integers(1, 6))
def test_samples_are_distinct_and_strongest_first(values: list[float], count: int, seed: int, kept: int) -> None:
    peaks = np.asarray(values, np.float32)
    record = record_of(peaks, kept, 10)
    stored = int(record.sampled.sum())
    fifth = min(10, len(peaks), math.ceil(count / 5))
    both = len(set(np.flatnonzero(record.sampled)) | set(strongest_of(record, "train")[:fifth].tolist()))
    for how, available in (("quantiles", stored), ("top", min(10, len(peaks))), ("random", stored), ("mixed", both)):
        chosen = sample(record, count, how, seed)
        assert len(set(chosen.tolist())) == len(chosen) == min(count, available)
        assert (np.diff(peaks[chosen]) <= 0).all()
        kept = {"top": record.top, "mixed": record.top | record.sampled}.get(how, record.sampled)
        assert kept[chosen].all()
    assert set(strongest_of(record, "train")[:fifth].tolist()) <= set(sample(record, count, "mixed", seed).tolist())
    top = sample(record, count, "top", seed)
    assert peaks[top].tolist() == sorted(peaks.tolist(), reverse=True)[: min(count, 10)]
    spread = np.bincount(record.deciles[sample(record, count, "quantiles", seed)], minlength=10)
    full = np.bincount(record.deciles[record.sampled], minlength=10)
    assert spread[spread < full].max(initial=0) <= spread[spread < full].min(initial=99) + 1


def test_ranks_are_by_falling_firing_count_with_ties_by_latent() -> None:
    index = index_of([5, 9, 5, 0, 40], [5, 1, 5, 0, 40])
    assert index.ranking().tolist() == [4, 0, 1, 2, 3]
    assert index.has_windows(5).tolist() == [True, False, True, False, True]
