"""What each explainer shows and says, and that a changed prompt has a new version."""

import hashlib
from collections.abc import Mapping

import numpy as np
import pytest
from dragoman.llm.budget import SpendingSpec, within_budget
from explainer.core.derangement import deranged
from explainer.core.evidence import Evidence, OutputEvidence, Passage
from explainer.core.example import Example
from explainer.core.explainers import EXPLAINERS
from explainer.core.max_act import excerpt
from explainer.core.plain import GENERIC, sentence_of
from explainer.core.prompt import Prompt
from explainer.core.reply import LONGEST, parse
from explainer.core.verbalised import last_paragraph
from hypothesis import given
from hypothesis import strategies as st

STRONG = Example([" on", " Monday", " or", " in", " May"], np.asarray([0, 2.0, 0, 0, 0.79], np.float32))
WEAK = Example([" a", " cold", " May", "\n", " day"], np.asarray([0, 0, 0.78, 0, 0.2], np.float32))
SILENT = Example([" You", " may", " go", ".", " Now"], np.zeros(5, np.float32))
OUTPUT = OutputEvidence((" Tuesday", " noon"), (" tree",), (" Friday",), (" and", " of"))
PASSAGES = (Passage("A date is near.\n\nThe final token 'Monday' names a day.", 10), Passage("The month of May.", 4))
ALL = Evidence((STRONG, WEAK), (SILENT,), OUTPUT, PASSAGES, "a sentence of somebody")


def prompt_of(name: str, evidence: Evidence = ALL) -> Prompt:
    make = EXPLAINERS[name].prompt
    assert make is not None
    return make(evidence)


def text_of(name: str, evidence: Evidence = ALL) -> str:
    make = EXPLAINERS[name].text
    assert make is not None
    return make(evidence)


SUMS: Mapping[str, tuple[str, str]] = {
    "chain_of_thought": ("chain_of_thought-1", "f436ce8e4f6f30b2"),
    "contrastive": ("contrastive-1", "b6cd03174344e00b"),
    "default": ("default-1", "c90524d06b70295d"),
    "eleuther_acts_top5": ("eleuther_acts_top5-1", "f436ce8e4f6f30b2"),
    "ensemble": ("ensemble-1", "d4b34cad216c146c"),
    "hypotheses": ("hypotheses-1", "dcccfa07f1404ac2"),
    "max_act": ("max_act-1", "5d3f3ae9e26ed6ec"),
    "nla": ("nla-1", "1495ed45fbfa69f8"),
    "no_activations": ("no_activations-1", "da11f20061aae0a2"),
    "output": ("output-1", "1643efe620b38213"),
}

PROMPTED = sorted(name for name, explainer in EXPLAINERS.items() if explainer.prompt)


@pytest.mark.parametrize("name", PROMPTED)
def test_a_changed_prompt_needs_a_new_version(name: str) -> None:
    """When this fails you changed what the model reads: raise the explainer's VERSION and put the new sum here."""
    summed = hashlib.sha256(prompt_of(name).text().encode()).hexdigest()[:16]
    assert (EXPLAINERS[name].version, summed) == SUMS[name]


@pytest.mark.parametrize("name", PROMPTED)
def test_prompts_begin_alike_and_their_own_answers_can_be_read(name: str) -> None:
    one = prompt_of(name)
    output = OutputEvidence((" x",), (" y",), (" z",), (" w",))
    other = prompt_of(name, Evidence((WEAK,), (SILENT,), output, PASSAGES[:1]))
    assert (one.instructions, one.shots, one.stop) == (other.instructions, other.shots, other.stop)
    assert one.question != other.question
    for asked, answered in one.shots:
        assert name == "hypotheses" or parse(answered, "stop").outcome == "explained"
        assert not any(stop in answered for stop in one.stop), "the model's own answer would be cut off"
        if name not in {"max_act", "nla"}:
            assert asked.splitlines()[-1].split(":")[0] == one.question.splitlines()[-1].split(":")[0]


def test_strengths_are_shown_or_not() -> None:
    assert "(Monday 10, May 4)" in prompt_of("default").question
    without = prompt_of("no_activations")
    assert "<< Monday>>" in without.question
    for name in ("no_activations", "chain_of_thought", "contrastive", "ensemble", "hypotheses"):
        hidden = prompt_of(name, Evidence(ALL.examples, ALL.counters, OUTPUT, show_strengths=False)).text()
        assert "strength" not in hidden
        assert " 10)" not in hidden
        if name not in {"no_activations", "hypotheses"}:
            assert "(Monday 10, May 4)" in prompt_of(name).question
    assert [shot[1] for shot in without.shots] == [shot[1] for shot in prompt_of("default").shots]


def test_a_chain_of_thought_is_written_in_the_worked_examples_and_read_at_its_end() -> None:
    for _, answered in prompt_of("chain_of_thought").shots:
        assert answered.startswith("Words: ")
        assert "\nShared: " in answered
    reply = parse("Words: Monday, May\nShared: names of times\n[EXPLANATION]: days and months", "stop")
    assert reply.explanation == "days and months"


def test_contrastive_shows_silent_windows_unmarked_under_their_own_heading() -> None:
    lines = prompt_of("contrastive").question.splitlines()
    assert lines[0] == "Active:"
    silent = lines.index("Silent:")
    assert lines[silent + 1] == "- You may go. Now"
    assert lines[silent + 2 :] == ["Marked tokens: Monday, May"]
    assert "Silent:\n(none)" in prompt_of("contrastive", Evidence((STRONG,))).question


def test_max_act_shows_the_strongest_token_of_each_window() -> None:
    assert prompt_of("max_act").question == "- Monday | on Monday or in May\n- May | a cold May\\n day"
    long = Example([f" w{i}" for i in range(64)], np.eye(64, dtype=np.float32)[40])
    assert excerpt(long).split() == [f"w{i}" for i in range(24, 48)]


def test_output_shows_only_the_evidence_there_is() -> None:
    assert prompt_of("output").question == (
        "Promoted directly: Tuesday, noon\nSuppressed directly: tree\nLikelier in texts: Friday\n"
        "Less likely in texts: and, of"
    )
    only = prompt_of("output", Evidence(output=OutputEvidence(promoted=(" a", " b"), suppressed=(" c",))))
    assert only.question == "Promoted directly: a, b\nSuppressed directly: c"
    assert all("in texts" not in asked for asked, _ in only.shots)


def test_the_ensemble_has_both_kinds_of_evidence_and_ends_with_the_marked_tokens() -> None:
    question = prompt_of("ensemble").question
    assert question.startswith("- on<< Monday>> or in<< May>>\n")
    assert question.endswith("\nLess likely in texts: and, of\nMarked tokens: Monday, May")


def test_a_verbalisers_texts_are_shown_on_one_line_with_their_strength() -> None:
    question = prompt_of("nla").question
    assert question.splitlines()[0] == "- 10: A date is near.\\n\\nThe final token 'Monday' names a day."
    assert last_paragraph(PASSAGES[0].text) == "The final token 'Monday' names a day."
    assert last_paragraph(" ") == ""


def test_the_published_baseline_marks_above_six_tenths() -> None:
    threshold = EXPLAINERS["eleuther_acts_top5"].mark_threshold
    strict = Example(STRONG.texts, STRONG.activations, threshold)
    assert prompt_of("eleuther_acts_top5", Evidence((strict,))).question.endswith("Marked tokens: Monday")


def test_acts_top5_is_the_strongest_tokens_in_their_texts() -> None:
    assert text_of("acts_top5") == 'Monday in "on Monday or in May"; May in "a cold May\\n day"'
    long = Example([" verylongword" * 9] * 32, np.ones(32, np.float32))
    assert len(text_of("acts_top5", Evidence((long,) * 5))) <= LONGEST


def test_nulls_say_nothing_of_the_latent() -> None:
    assert text_of("generic") == text_of("generic", Evidence()) == GENERIC
    assert text_of("random") == text_of("other_latent") == text_of("oracle") == ALL.sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (" end of one. The farmer saw a\n cow near it! And", "The farmer saw a cow near it!"),
        ("no end at all", "no end at all"),
        ("  ", ""),
    ],
)
def test_a_random_sentence_is_the_longest_of_its_window(text: str, sentence: str) -> None:
    assert sentence_of(text) == sentence


@given(st.dictionaries(st.integers(0, 500), st.sampled_from(["a", "A ", "b c", "d"]), max_size=40), st.integers(0, 99))
def test_nobody_gets_their_own_explanation_and_each_is_used_once(texts: dict[int, str], seed: int) -> None:
    partners = deranged(texts, seed)
    assert partners == deranged(dict(reversed(texts.items())), seed)
    if len(texts) < 2:
        assert partners == {}
        return
    assert set(partners) == set(partners.values()) == set(texts)
    assert all(own != other for own, other in partners.items())


def test_equal_wordings_are_kept_apart_where_that_can_be() -> None:
    texts = {0: "months", 1: "Months ", 2: "days", 3: "names", 4: "verbs", 5: "nouns"}
    for seed in range(20):
        partners = deranged(texts, seed)
        assert sum(texts[a].lower().split() == texts[b].lower().split() for a, b in partners.items()) == 0


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(0, 300))
def test_a_budget_takes_the_longest_beginning_that_it_pays_for(costs: list[int], budget: int) -> None:
    counted = [{"planned": [{"tokens": cost, "replies": 0} for cost in costs], "counter": "engine"}]
    end, sums = within_budget(counted, 0, SpendingSpec(token_budget=budget))
    assert sums["planned_prompt_tokens"] == sum(costs[:end])
    if budget:
        assert sum(costs[:end]) <= budget
        assert end == len(costs) or sum(costs[: end + 1]) > budget
    else:
        assert end == len(costs)
