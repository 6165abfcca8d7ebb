"""Discrimination: labels that are shared are found out, where detection sees nothing."""

from pathlib import Path

import pytest
from dragoman.folder import FolderArtifact
from scorer.core.rivals import label_statistics, rivals_of
from scorer.scores_kind import ScoresKind
from scorer.spec import ScoresSpec

from tests.support.local_run import run_local
from tests.unit.scorer import planted as p
from tests.unit.scorer.test_scores_kind import statistics, table

LATENTS = 6


def same_for_pairs(latent: int) -> str:
    """One label for two latents, with the words of both."""
    first = latent // 2 * 2
    return "the words " + ", ".join(p.latent_words(first) + p.latent_words(first + 1))


def scored(made: p.Planted, rule: p.Rule, folder: Path, scorer: str = "discrimination") -> FolderArtifact:
    laid = p.lay_out(made, folder / "in")
    spec = ScoresSpec(
        explanations_id=p.EXPLANATIONS_ID, latents_id=p.LATENTS_ID, scorer=scorer, window_length=p.LENGTH,
        bootstrap_count=100,
    )  # fmt: skip
    return run_local(ScoresKind(p.RuleJudge(rule), laid.artifacts), spec, laid.inputs, folder / "scores")


def fitting(asked: p.Asked) -> list[float]:
    """How many of the marked words are among those of each label."""
    lines = asked.prompt.rsplit("\n\n", 1)[1].split("\n")
    marked = {word for run in lines[2].split("<<")[1:] for word in run.split(">>")[0].split()}
    hits = [1.0 + 9.0 * len(marked & set(line[3:].removeprefix("the words ").split(", "))) for line in lines[:2]]
    return [hit / sum(hits) for hit in hits]


def test_labels_of_their_own_are_told_apart_and_the_null_is_chance(tmp_path: Path) -> None:
    made = scored(p.planted(LATENTS), fitting, tmp_path)
    found = statistics(made)
    assert found["auroc"]["mean"] >= 0.95
    assert found["balanced_accuracy"]["mean"] >= 0.95
    assert found["null_auroc"]["low"] - 0.02 <= 0.5 <= found["null_auroc"]["high"] + 0.02
    assert found["labels"] == {"explained": LATENTS, "distinct": LATENTS, "sharing": 0}
    for e in table(made, "examples.parquet"):
        words = {token.strip() for token in e["tokens"]}
        assert bool(words & set(p.latent_words(e["latent"]))) is e["label"]
        assert any(e["marked"])


def test_a_shared_label_is_flat_in_detection_and_falls_here(tmp_path: Path) -> None:
    planted = p.planted(LATENTS, labels=same_for_pairs)
    detected = statistics(scored(planted, p.oracle, tmp_path / "detection", "detection"))
    found = statistics(scored(planted, fitting, tmp_path / "discrimination"))
    assert found["labels"] == {"explained": LATENTS, "distinct": LATENTS // 2, "sharing": LATENTS}
    assert detected["auroc"]["mean"] > 0.85
    assert found["auroc"]["mean"] == found["balanced_accuracy"]["mean"] == 0.5


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.8, 0.2), (0.1, 0.9)])
def test_a_judge_of_places_gets_exactly_the_floor(tmp_path: Path, shares: tuple[float, float]) -> None:
    made = scored(p.planted(3), lambda _: shares, tmp_path)
    for row in table(made, "latents.parquet"):
        assert row["auroc"] == row["balanced_accuracy"] == 0.5
        assert row["n_active"] == row["n_inactive"] == 20


def test_a_judge_that_prefers_a_label_gets_exactly_the_floor(tmp_path: Path) -> None:
    def longest(asked: p.Asked) -> list[float]:
        first, second = asked.prompt.rsplit("\n\n", 1)[1].split("\n")[:2]
        return [0.9, 0.1] if first[3:] > second[3:] else [0.1, 0.9]

    for row in table(scored(p.planted(3), longest, tmp_path), "latents.parquet"):
        assert row["balanced_accuracy"] == 0.5


def test_rivals_are_those_whose_labels_share_most_words() -> None:
    labels = {1: "Names of months", 2: "names of months.", 3: "names of days", 4: "punctuation"}
    assert rivals_of(1, labels, 2, 0) == [2, 3]
    assert rivals_of(4, {4: "punctuation"}, 2, 0) == []
    assert label_statistics(labels) == {"explained": 4, "distinct": 3, "sharing": 2}
