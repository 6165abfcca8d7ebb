"""Scorers of steered texts over planted latents: intervention, faithfulness, output."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from activation.spec import EffectsSpec
from dragoman import pipeline
from dragoman.artifacts import InputInfo
from dragoman.errors import InvalidSpec, UserTaskError
from dragoman.folder import FolderArtifact
from scorer.core import fade
from scorer.core.judgement import Verdict
from scorer.core.requests import Contrast, Request
from scorer.effects_checks import effects_violations
from scorer.scores_kind import ScoresKind
from scorer.spec import ScoresSpec

from tests.support.local_run import reversed_order, run_local
from tests.unit.scorer import planted as p
from tests.unit.scorer import steered as s
from tests.unit.scorer.test_scores_kind import statistics, table

LATENTS = 6
SCORERS = ("intervention", "faithfulness", "output")
GUESSED = {
    "log_prob_change": np.sqrt(1 / 6 / (20 * LATENTS)),  # differences of two uniform numbers
    "faithfulness": np.sqrt(2 * 0.25 / 20 / LATENTS) / 0.5,  # of two shares of 20, over one of them
    "accuracy": np.sqrt(2 / 9 / (18 * LATENTS)),
}
"""Standard errors, about, of what a guess gets."""


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> p.Laid:
    root = tmp_path_factory.mktemp("artifacts")
    return s.with_effects(p.lay_out(p.planted(LATENTS), root), root, s.effects_parts(LATENTS))


def spec(scorer: str, **changes: Any) -> ScoresSpec:
    fields: dict[str, Any] = {"effects_id": s.EFFECTS_ID, "bootstrap_count": 200, "window_length": p.LENGTH, **changes}
    return ScoresSpec(explanations_id=p.EXPLANATIONS_ID, latents_id=p.LATENTS_ID, scorer=scorer, **fields)


def scored(laid: p.Laid, judge: p.RuleJudge, folder: Path, wanted: ScoresSpec, **how: Any) -> FolderArtifact:
    return run_local(ScoresKind(judge, laid.artifacts), wanted, laid.inputs, folder / "scores", **how)


@dataclass
class Reader(p.RuleJudge):
    """Log-probability of an explanation after a passage, by a rule."""

    reads: Callable[[str, str], float] = lambda passage, explanation: 0.0

    def _answer(self, request: Request) -> Verdict:
        if isinstance(request, Contrast):
            steered, clean = (self.reads(passage, request.text) for passage in (request.prompt, request.baseline))
            return Verdict("answered", value=steered - clean)
        return super()._answer(request)


def words_in(passage: str, explanation: str) -> float:
    """How many of the words of a right explanation are in a passage."""
    words = explanation.strip().removeprefix("the words ").split(", ")
    return float(sum(passage.split().count(word) for word in words))


def in_sets(asked: p.Asked) -> list[float]:
    """Shares of the sets by how many of the description's words they hold."""
    sets = [line[2:] for line in asked.prompt.rsplit("\n\n", 1)[1].split("\n")[1:4]]
    weights = np.exp([words_in(text.replace("/", " "), asked.description) for text in sets])
    return (weights / weights.sum()).tolist()


# ---------------------------------------------------------------- what a judge gets


def test_intervention_is_the_gain_of_the_explanation_and_0_for_another_one(laid: p.Laid, tmp_path: Path) -> None:
    found = statistics(scored(laid, Reader(p.oracle, reads=words_in), tmp_path, spec("intervention")))
    assert found["metrics"] == ["log_prob_change"]
    assert found["floors"] == {"log_prob_change": 0.0}
    assert found["log_prob_change"]["mean"] == pytest.approx(2.0)  # two of five tokens are its own
    assert found["null_log_prob_change"]["mean"] == 0.0, "no text was written of another latent's words"
    assert found["constant_answer_accuracy"] is None


def test_faithfulness_and_output_of_an_oracle(laid: p.Laid, tmp_path: Path) -> None:
    made = scored(laid, p.RuleJudge(p.oracle), tmp_path / "f", spec("faithfulness"))
    found = statistics(made)
    assert found["faithfulness"]["mean"] == found["auroc"]["mean"] == 1.0
    assert found["null_faithfulness"]["mean"] == 0.0
    assert found["question_count_by_type"] == {"clean": 20 * LATENTS, "steered": 20 * LATENTS}
    found = statistics(scored(laid, p.RuleJudge(in_sets), tmp_path / "o", spec("output")))
    assert found["accuracy"]["mean"] == found["auroc"]["mean"] == 1.0
    assert found["floors"]["accuracy"] == pytest.approx(1 / 3)
    # None of the three sets is of the latent whose explanation is shown.
    assert found["null_accuracy"]["mean"] == pytest.approx(1 / 3)
    assert found["question_count_by_type"] == {"steered": 18 * LATENTS}


@pytest.mark.parametrize("p_yes", [0.99, 0.01])
def test_a_judge_that_always_says_the_same_gets_exactly_the_floor(laid: p.Laid, tmp_path: Path, p_yes: float) -> None:
    for row in table(scored(laid, p.RuleJudge(lambda _: p_yes), tmp_path, spec("faithfulness")), "latents.parquet"):
        assert row["faithfulness"] == row["null_faithfulness"] == row["floor"] == 0.0
        assert row["auroc"] == row["balanced_accuracy"] == row["null_auroc"] == 0.5
    judge = Reader(p.oracle, reads=lambda passage, explanation: len(explanation) * p_yes)
    for row in table(scored(laid, judge, tmp_path, spec("intervention")), "latents.parquet"):
        assert row["log_prob_change"] == row["null_log_prob_change"] == row["floor"] == 0.0


@pytest.mark.parametrize("shares", [(0.8, 0.1, 0.1), (0.1, 0.2, 0.7), (1 / 3, 1 / 3, 1 / 3)])
@pytest.mark.parametrize("null_count", [20, 7])
def test_a_judge_of_places_gets_exactly_a_third(
    laid: p.Laid, tmp_path: Path, shares: tuple[float, ...], null_count: int
) -> None:
    wanted = spec("output", null_count=null_count)
    for row in table(scored(laid, p.RuleJudge(lambda _: shares), tmp_path, wanted), "latents.parquet"):
        assert row["accuracy"] == row["null_accuracy"] == row["floor"] == pytest.approx(1 / 3)
        assert row["auroc"] == row["null_auroc"] == pytest.approx(0.5)


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_judge_that_guesses_is_at_the_floor_within_the_interval(laid: p.Laid, tmp_path: Path, scorer: str) -> None:
    def guess(asked: p.Asked) -> float | list[float]:
        if scorer != "output":
            return asked.chance()
        weights = np.asarray([asked.chance(i) for i in range(3)])
        return (weights / weights.sum()).tolist()

    judge = Reader(guess, reads=lambda passage, explanation: p.Asked(passage + explanation, "", "").chance())
    found = statistics(scored(laid, judge, tmp_path, spec(scorer)))
    name = found["metrics"][0]
    for column in (name, f"null_{name}"):
        assert abs(found[column]["mean"] - found["floors"][name]) < 3.0 * GUESSED[name], column


# ---------------------------------------------------------------- what is asked


def test_latents_that_do_not_reach_the_target_are_counted_and_not_scored(tmp_path: Path) -> None:
    parts = s.effects_parts(LATENTS, kl=lambda latent: 1.11 if latent == 2 else 0.905, left_out=[5])
    laid = s.with_effects(p.lay_out(p.planted(LATENTS), tmp_path / "in"), tmp_path / "in", parts)
    made = scored(laid, p.RuleJudge(in_sets), tmp_path, spec("output"))
    found, rows = statistics(made), {row["latent"]: row for row in table(made, "latents.parquet")}
    assert found["steering"] == {
        "kl_target": 1.0, "tolerance": 0.1, "matched": LATENTS - 2, "unmatched": 1, "not_measured": 1,
    }  # fmt: skip
    assert (found["attempted"], found["scored"]) == (LATENTS, LATENTS - 2)
    assert [rows[latent]["steering"] for latent in (2, 5, 0)] == ["unmatched", "not_measured", "matched"]
    assert (rows[2]["kl"], rows[5]["kl"], rows[2]["accuracy"]) == (1.11, None, None)
    assert any("2 explained latent(s) have no score" in note for note in found["notes"])


def test_texts_are_those_of_the_target_and_what_the_model_wrote_is_marked(laid: p.Laid, tmp_path: Path) -> None:
    for target, faithful in ((1.0, 1.0), (0.1, 0.0)):
        made = scored(laid, p.RuleJudge(p.oracle), tmp_path / str(target), spec("faithfulness", kl_target=target))
        assert statistics(made)["faithfulness"]["mean"] == faithful
        for example in table(made, "examples.parquet"):
            words = {token.strip() for token, mark in zip(example["tokens"], example["marked"], strict=True) if mark}
            assert sum(example["marked"]) == s.NEW_TOKENS
            assert len(example["tokens"]) == s.PROMPT_TOKENS + s.NEW_TOKENS
            own = example["type"] == "steered" and target == 1.0
            assert bool(words & set(p.latent_words(example["latent"]))) == own


def test_sets_stand_after_the_same_prompts_in_every_place_once(laid: p.Laid, tmp_path: Path) -> None:
    judge = p.RuleJudge(in_sets)
    examples = table(scored(laid, judge, tmp_path, spec("output", null_count=0)), "examples.parquet")
    for first in range(0, len(examples), 3):
        trials = examples[first : first + 3]
        assert [trial["place"] for trial in trials] == [0, 1, 2]
        assert len({tuple(trial["shown_starts"]) for trial in trials}) == 1
        starts = trials[0]["shown_starts"]
        assert starts[:3] == starts[3:6] == starts[6:]
    assert all("/" in prompt.rsplit("\nC:", 1)[1] for prompt in judge.prompts)


@pytest.mark.parametrize("scorer", ["intervention", "output"])
def test_bytes_do_not_depend_on_the_order_of_tasks(laid: p.Laid, tmp_path: Path, scorer: str) -> None:
    judge = Reader(in_sets if scorer == "output" else p.oracle, reads=words_in)
    made = scored(laid, judge, tmp_path / "a", spec(scorer))
    again = scored(laid, judge, tmp_path / "b", spec(scorer), order=reversed_order, resume_after=3)
    assert [(q.name, q.sha256) for q in made.manifest.parts] == [(q.name, q.sha256) for q in again.manifest.parts]
    assert len(made.manifest.parts) == 2, "no types where nothing is a negative"


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("scorer", "changes", "field", "message"),
    [
        ("output", {"effects_id": ""}, "effects_id", "judges steered texts; give effects"),
        ("detection", {}, "effects_id", "judges windows; .* intervention, faithfulness, output"),
        ("detection", {"effects_id": "", "kl_target": 1.0}, "kl_target", "judges windows"),
    ],
)
def test_effects_that_a_scorer_does_not_take_or_lacks(
    laid: p.Laid, scorer: str, changes: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(InvalidSpec, match=message) as error:
        ScoresKind(p.RuleJudge(p.oracle), laid.artifacts).resolve(spec(scorer, **changes))
    assert [violation.field for violation in error.value.violations] == [field]


@pytest.mark.parametrize(
    ("changes", "made", "field", "message"),
    [
        ({}, {"latents_id": "latents-" + "9" * 32}, "effects_id", "measured latents-9.*give effects of the latents"),
        ({}, {"split": "train"}, "effects_id", "texts of split train; .*give effects of split test"),
        ({}, {"new_tokens": 0}, "effects_id", "new_tokens 0 and has no texts"),
        ({}, {"prompts": "activating"}, "effects_id", "gives it away; expected prompts: random"),
        ({}, {"kl_targets": []}, "effects_id", "made without kl_targets"),
        ({"kl_target": 2.0}, {}, "kl_target", r"2 is no target of .*; it has 0\.1, 1"),
        ({}, {"selection": {"ranks": [0, 1]}}, "effects_id", "texts of 2 latents, and output needs those of 3; give"),
        ({"active_count": 27}, {}, "active_count", "27 needs texts after 27 prompts, .* has 24"),
        ({"stop": {"threshold": 0.5}}, {}, "stop", "no positives and negatives"),
    ],
)
def test_effects_that_cannot_be_scored_are_refused(
    laid: p.Laid, changes: dict[str, Any], made: dict[str, Any], field: str, message: str
) -> None:
    manifests = {role: artifact.manifest for role, artifact in laid.inputs.items()}
    infos = {role: InputInfo(m.id, m.kind, m.spec, m, m.inputs) for role, m in manifests.items()}
    waiting = infos["effects"].manifest if "selection" not in made else None
    infos["effects"] = replace(infos["effects"], spec={**infos["effects"].spec, **made}, manifest=waiting)
    with pytest.raises(InvalidSpec, match=message) as error:
        ScoresKind(p.RuleJudge(p.oracle), laid.artifacts).check(spec("output", **changes), infos)
    assert [violation.field for violation in error.value.violations] == [field]


def test_no_latent_at_the_target_fails_the_job(tmp_path: Path) -> None:
    parts = s.effects_parts(LATENTS, kl=lambda _: 2.0)
    laid = s.with_effects(p.lay_out(p.planted(LATENTS), tmp_path / "in"), tmp_path / "in", parts)
    with pytest.raises(UserTaskError, match="none has enough texts at the KL target"):
        scored(laid, p.RuleJudge(p.oracle), tmp_path, spec("faithfulness"))


def test_the_pipeline_goes_from_explanations_to_scores_of_steered_texts() -> None:
    path = Path(__file__).parents[3] / "services" / "scorer" / "steered.yaml"
    given = {"explanations": p.EXPLANATIONS_ID, "latents": p.LATENTS_ID, "ranks": "[3, 4, 5]"}
    jobs = pipeline.load(path, given).jobs
    made = EffectsSpec.model_validate(jobs["effects"].render({}))
    for name in ("faithfulness", "output"):
        wanted = ScoresSpec.model_validate(jobs[name].render({"effects": s.EFFECTS_ID}))
        info = InputInfo(s.EFFECTS_ID, "effects", made.model_dump(mode="json"), None, {})
        assert list(effects_violations(wanted, info)) == []


# ---------------------------------------------------------------- measures of what was rated


def test_measures_of_fade_by_hand() -> None:
    rated, others = np.asarray([3.0, 1.0]), np.asarray([2.0, 0.0])
    assert fade.responsiveness(rated, others) == pytest.approx(0.5)  # 3 of 4 pairs
    assert fade.purity(rated, others) == pytest.approx((1 + 2 / 3) / 2)
    none = np.asarray([])
    assert fade.responsiveness(rated, none) == 0.0
    assert (fade.purity(rated, none), fade.purity(none, others), fade.purity(none, none)) == (1.0, 0.0, None)
    yes, no = np.asarray([True, True, True, False]), np.asarray([True, False, False, False])
    assert fade.faithfulness(yes, no) == pytest.approx((0.75 - 0.25) / 0.75)
    interval = fade.faithfulness_interval(yes, no, 0, 500)
    assert interval is not None
    assert interval.low < 2 / 3 < interval.high


def test_detection_sets_answers_against_activations(laid: p.Laid, tmp_path: Path) -> None:
    plain = p.Laid(laid.artifacts, {role: a for role, a in laid.inputs.items() if role != "effects"})
    wanted = spec("detection", effects_id="")
    found = statistics(scored(plain, p.RuleJudge(p.oracle), tmp_path / "o", wanted))
    assert found["responsiveness"]["mean"] == found["purity"]["mean"] == 1.0
    assert abs(found["null_responsiveness"]["mean"]) < 0.2
    for said in (0.9, 0.1):
        for row in table(scored(plain, p.RuleJudge(lambda _, x=said: x), tmp_path, wanted), "latents.parquet"):
            assert row["responsiveness"] == row["responsiveness_floor"] == 0.0
            assert row["purity"] == row["purity_floor"] == float(said > 0.5)
