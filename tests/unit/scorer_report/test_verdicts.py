"""When two runs are told apart, and how that is written."""

from typing import Any

import pyarrow as pa
import pytest
from scorer.core.latent_score import LATENTS_SCHEMA
from scorer.core.scorecard import ScorerCard, Scores, Verdict, scorer_card, verdict_of
from scorer.core.scorecard_statistics import Estimate, Resampling
from scorer.core.scorecard_words import number, signed, verdict_detail, verdict_title

STATISTICS: dict[str, Any] = {
    "scorer": "detection",
    "model": "judge",
    "scored": 0,
    "question_count": 40,
    "answered_count": 39,
    "failed_by_outcome": {"timeout": 1},
    "constant_answer_accuracy": 0.5,
}
HIGH = [0.80, 0.82, 0.85, 0.79, 0.90, 0.88, 0.84]
LOW = [0.52, 0.55, 0.49, 0.58, 0.61, 0.50, 0.53]


def scores(values: list[float | None], ranks: list[int] | None = None, null: float | None = 0.5) -> Scores:
    names = [field.name for field in LATENTS_SCHEMA]
    rows = [
        {
            **dict.fromkeys(names),
            "latent": i,
            "rank": ranks[i] if ranks else i,
            "auroc": value,
            "balanced_accuracy": value,
            "null_auroc": null,
            "null_balanced_accuracy": null,
        }
        for i, value in enumerate(values)
    ]
    return Scores(pa.Table.from_pylist(rows, schema=LATENTS_SCHEMA), STATISTICS)


def card(trained: Scores, control: Scores) -> ScorerCard:
    return scorer_card(trained, control, Resampling(0.95, 500, 0))


def test_far_apart_is_distinguishable_and_said_so() -> None:
    found = card(scores(list(HIGH)), scores(list(LOW)))
    comparison = found.verdict.comparison
    assert comparison.distinguishable_from_control is Verdict.YES
    assert comparison.paired
    assert comparison.cliffs_delta.value == 1.0
    assert comparison.difference.value == pytest.approx(sum(HIGH) / 7 - sum(LOW) / 7)
    assert verdict_title(found) == "Detection tells the trained model from its control."
    assert "7 pairs of latents" in verdict_detail(found, 0.95)


def test_exchanged_sides_are_distinguishable_the_other_way() -> None:
    found = card(scores(list(LOW)), scores(list(HIGH)))
    assert found.verdict.comparison.distinguishable_from_control is Verdict.YES
    assert verdict_title(found) == "Detection scores the control above the trained model."


def test_same_scores_are_not_distinguishable() -> None:
    found = card(scores(list(HIGH)), scores(list(reversed(HIGH))))
    assert found.verdict.comparison.distinguishable_from_control is Verdict.NO
    assert verdict_title(found) == "Detection does not tell the trained model from its control."


def test_four_latents_are_too_few_to_tell_anything() -> None:
    found = card(scores([*HIGH[:4]]), scores([*LOW[:4]]))
    metric = found.verdict
    assert metric.comparison.distinguishable_from_control is Verdict.TOO_FEW
    assert metric.sides["trained"].distinguishable_from_shuffled is Verdict.TOO_FEW
    assert str(Verdict.TOO_FEW) == "too few latents to tell"
    assert verdict_title(found) == "Detection: too few latents to tell."


def test_one_side_of_few_is_too_few() -> None:
    found = card(scores(list(HIGH)), scores([0.5, 0.6], ranks=[70, 80]))
    assert found.verdict.comparison.distinguishable_from_control is Verdict.TOO_FEW
    assert found.verdict.comparison.difference.n == 2


def test_other_ranks_are_compared_unpaired() -> None:
    found = card(scores(list(HIGH)), scores(list(LOW), ranks=list(range(100, 107))))
    comparison = found.verdict.comparison
    assert not comparison.paired
    assert (comparison.trained_count, comparison.control_count) == (7, 7)
    assert "7 trained and 7 control latents" in verdict_detail(found, 0.95)


def test_pairs_leave_out_ranks_that_one_side_could_not_score() -> None:
    found = card(scores([*HIGH[:6], None]), scores([None, *LOW[1:]]))
    assert found.verdict.comparison.paired
    assert found.verdict.comparison.difference.n == 5
    assert found.verdict.sides["trained"].score.n == 6


def test_shuffled_null_decides_each_side_by_itself() -> None:
    found = card(scores(list(HIGH)), scores([0.55, 0.45, 0.52, 0.48, 0.5, 0.51, 0.49]))
    sides = found.verdict.sides
    assert sides["trained"].distinguishable_from_shuffled is Verdict.YES
    assert sides["control"].distinguishable_from_shuffled is Verdict.NO


def test_without_probabilities_balanced_accuracy_is_the_headline() -> None:
    trained, control = scores(list(HIGH)), scores(list(LOW))
    nothing = pa.array([None] * 7, pa.float64())
    at = trained.latents.schema.get_field_index("auroc")
    without = Scores(trained.latents.set_column(at, "auroc", nothing), STATISTICS)
    found = card(without, control)
    assert found.headline == "balanced_accuracy"
    assert found.metrics["auroc"].sides["trained"].score.value is None


def test_without_a_null_there_is_no_verdict_against_it() -> None:
    found = card(scores(list(HIGH), null=None), scores(list(LOW), null=None))
    side = found.verdict.sides["trained"]
    assert (side.shuffled.value, side.shuffled.n) == (None, 0)
    assert side.distinguishable_from_shuffled is Verdict.TOO_FEW


def test_no_scored_latent_at_all() -> None:
    found = card(scores([None, None]), scores([None, None]))
    assert found.verdict.comparison.permutation is None
    assert verdict_title(found) == "Detection: too few latents to tell."
    assert "none" in verdict_detail(found, 0.95)


@pytest.mark.parametrize(
    ("low", "high", "n", "verdict"),
    [
        (0.01, 0.2, 9, Verdict.YES),
        (-0.2, -0.01, 9, Verdict.YES),
        (-0.01, 0.2, 9, Verdict.NO),
        (0.0, 0.2, 9, Verdict.NO),
        (0.01, 0.2, 4, Verdict.TOO_FEW),
        (0.01, 0.2, 5, Verdict.YES),
    ],
)
def test_verdict_is_whether_the_interval_leaves_out_zero(low: float, high: float, n: int, verdict: Verdict) -> None:
    assert verdict_of(Estimate(0.1, low, high, n)) is verdict


def test_numbers_in_words() -> None:
    assert signed(0.12345) == "+0.123"
    assert signed(-0.0001) == "0.000"
    assert signed(-0.5, 1) == "\N{MINUS SIGN}0.5"
    assert number(None) == "none"
