"""The intruder scorers over planted latents: what is asked, and what judges get that follow rules."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from dragoman.errors import InvalidSpec
from dragoman.folder import FolderArtifact
from scorer.core.forced_choice import concordance
from scorer.scores_kind import ScoresKind
from scorer.spec import ScoresSpec

from tests.support.local_run import run_local
from tests.unit.scorer import planted as p
from tests.unit.scorer.test_scores_kind import statistics, table

LATENTS, TRIALS = 6, 20
INTRUDERS = ("intruder", "decile_intruder")


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> p.Laid:
    return p.lay_out(p.planted(LATENTS), tmp_path_factory.mktemp("artifacts"))


def scored(laid: p.Laid, rule: p.Rule, folder: Path, scorer: str = "intruder", **changes: object) -> FolderArtifact:
    fields = {"explanations_id": p.EXPLANATIONS_ID, "bootstrap_count": 100, "active_count": TRIALS, **changes}
    spec = ScoresSpec(latents_id=p.LATENTS_ID, scorer=scorer, window_length=p.LENGTH, **fields)
    inputs = {
        role: laid.inputs[role] for role in ("latents", "explanations") if role == "latents" or spec.explanations_id
    }
    return run_local(ScoresKind(p.RuleJudge(rule), laid.artifacts), spec, inputs, folder / "scores")


def fragments(asked: p.Asked) -> list[str]:
    return [line.split(":", 1)[1] for line in asked.prompt.rsplit("\n\n", 1)[1].split("\n")[:5]]


def marked(text: str) -> list[str]:
    return [word for run in text.split("<<")[1:] for word in run.split(">>")[0].split()]


def likely(choice: int) -> list[float]:
    return [0.8 if place == choice else 0.05 for place in range(5)]


def odd_family(asked: p.Asked) -> list[float]:
    """Words of one latent begin alike."""
    families = [{word[:3] for word in marked(text)} for text in fragments(asked)]
    kin = [sum(bool(own & other) for other in families) for own in families]
    return likely(int(np.argmin(kin)))


def odd_strength(asked: p.Asked) -> list[float]:
    """A latent fires on words in -a most, on those in -u least."""
    strongest = [max("uoiea".index(word[-1]) for word in marked(text)) for text in fragments(asked)]
    return likely(int(np.argmax(np.abs(np.asarray(strongest) - np.median(strongest)))))


def mark_places(text: str) -> list[int]:
    return [len(before.replace("<<", "").replace(">>", "").split()) for before in text.split("<<")[:-1]]


def test_oracle_finds_the_intruder_and_the_null_has_none(laid: p.Laid, tmp_path: Path) -> None:
    made = scored(laid, odd_family, tmp_path)
    found = statistics(made)
    assert found["metrics"] == ["accuracy", "auroc"]
    assert found["floors"] == pytest.approx({"accuracy": 0.2, "auroc": 0.5})
    assert found["accuracy"]["mean"] >= 0.95
    assert found["auroc"]["mean"] >= 0.95
    # Five trials of a group are right as often as those of five groups, or more evenly.
    assert abs(found["null_accuracy"]["mean"] - 0.2) < 3.0 * np.sqrt(0.2 * 0.8 / (TRIALS * LATENTS))
    assert found["constant_answer_accuracy"] == 0.2
    assert all(row["explanation_latent"] == -1 for row in table(made, "examples.parquet"))


@pytest.mark.parametrize("scorer", INTRUDERS)
@pytest.mark.parametrize("shares", [(0.2,) * 5, (0.6, 0.1, 0.1, 0.1, 0.1), (0.1, 0.1, 0.2, 0.5, 0.1)])
def test_a_judge_of_places_gets_exactly_the_floor(
    laid: p.Laid, tmp_path: Path, scorer: str, shares: tuple[float, ...]
) -> None:
    for row in table(scored(laid, lambda _: shares, tmp_path, scorer), "latents.parquet"):
        for prefix in ("", "null_"):
            assert row[f"{prefix}accuracy"] == pytest.approx(0.2, abs=1e-12)
            assert row[f"{prefix}auroc"] == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize("which", [np.argmax, np.argmin])
def test_a_judge_of_marks_gets_exactly_the_floor(laid: p.Laid, tmp_path: Path, which: object) -> None:
    def by_marks(asked: p.Asked) -> list[float]:
        return likely(int(which([sum(mark_places(text)) + 7 * len(marked(text)) for text in fragments(asked)])))

    for row in table(scored(laid, by_marks, tmp_path), "latents.parquet"):
        assert row["accuracy"] == row["null_accuracy"] == pytest.approx(0.2, abs=1e-12)


def test_random_judge_is_at_the_floor_within_the_interval(laid: p.Laid, tmp_path: Path) -> None:
    def random(asked: p.Asked) -> list[float]:
        return [asked.chance(place) for place in range(5)]

    found = statistics(scored(laid, random, tmp_path))
    assert found["accuracy"]["low"] <= 0.2 <= found["accuracy"]["high"]
    assert found["auroc"]["low"] <= 0.5 <= found["auroc"]["high"]


def test_strength_is_found_and_dealt_anew_it_is_not(laid: p.Laid, tmp_path: Path) -> None:
    found = statistics(scored(laid, odd_strength, tmp_path, "decile_intruder"))
    assert found["accuracy"]["low"] > 0.35
    assert found["accuracy"]["mean"] > found["null_accuracy"]["mean"] + 0.15
    assert found["null_accuracy"]["high"] < 0.45


def test_trials_are_what_they_say(laid: p.Laid, tmp_path: Path) -> None:
    examples = table(scored(laid, odd_family, tmp_path), "examples.parquet")
    own = [e for e in examples if e["arm"] == "score"]
    for latent in range(LATENTS):
        mine = [e for e in own if e["latent"] == latent]
        assert Counter(e["place"] for e in mine) == dict.fromkeys(range(5), TRIALS // 5)
        assert len({(e["row"], e["start"]) for e in mine}) == TRIALS, "each trial has an intruder of its own"
    for e in own:
        assert (e["shown_rows"][e["place"]], e["shown_starts"][e["place"]]) == (e["row"], e["start"])
        assert not any(e["activations"])
        assert any(e["marked"])
        others = [q for place, q in enumerate(e["shown_quantiles"]) if place != e["place"]]
        assert e["shown_quantiles"][e["place"]] == -1
        assert max(others) - min(others) <= 3, "windows of like strength"
        assert e["answer"] == (e["choice"] == e["place"])
        assert e["value"] == e["shares"][e["place"]]


def test_without_explanations_the_latents_that_fire_most_are_scored(laid: p.Laid, tmp_path: Path) -> None:
    made = scored(laid, odd_family, tmp_path, explanations_id="", latent_count=3, active_count=5)
    rows, firing = table(made, "latents.parquet"), laid.inputs["latents"]
    assert [row["rank"] for row in rows] == [0, 1, 2]
    counts = [row["firing_count"] for row in rows]
    assert counts == sorted(counts, reverse=True)
    assert statistics(made)["total"] == int(str(firing.manifest.statistics["d_sae"]))
    assert statistics(made)["attempted"] == 3
    assert statistics(made)["accuracy"]["mean"] >= 0.9


def test_detection_without_explanations_is_refused(laid: p.Laid, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"detection scores explanations; .* needs none: intruder, decile_intruder"):
        scored(laid, p.oracle, tmp_path, "detection", explanations_id="")


def test_concordance_counts_ties_half() -> None:
    assert concordance(np.asarray([0.5, 0.3, 0.2]), 0) == 1.0
    assert concordance(np.asarray([0.5, 0.3, 0.2]), 1) == 0.5
    assert concordance(np.asarray([0.25, 0.25, 0.5]), 0) == 0.25
