"""The scorecard shows scorers of every form, trained against control, each with its own metrics and floors."""

import json
from pathlib import Path

import pytest
from scorer.scorecard_kind import ScorecardKind

from tests.support.local_run import run_local
from tests.unit.scorer_report import synthetic

SCORERS = ("detection", "intruder", "simulation")


def test_every_form_of_question_is_shown(tmp_path: Path) -> None:
    plan = synthetic.Plan(count=6, scorers={"trained": SCORERS, "control": SCORERS})
    laid = synthetic.lay_out(tmp_path / "in", plan, bootstrap_count=200)
    made = run_local(ScorecardKind(laid.artifacts), laid.spec, laid.inputs, tmp_path / "out")
    document = json.loads(made.read("scorecard.json"))
    floors = {
        name: {metric: card["floor"] for metric, card in scorer["metrics"].items()}
        for name, scorer in document["scorers"].items()
    }
    assert 0.2 < floors["detection"].pop("purity") < 0.8  # the share of yes
    assert floors["detection"] == pytest.approx(
        {"auroc": 0.5, "balanced_accuracy": 0.5, "auprc": 0.5, "f1": 2 / 3, "responsiveness": 0.0}, abs=0.03
    )
    assert floors["intruder"] == pytest.approx({"accuracy": 0.2, "auroc": 0.5})
    assert floors["simulation"] == {"pearson": 0.0}
    assert {name: scorer["headline"] for name, scorer in document["scorers"].items()} == {
        "detection": "auroc", "intruder": "accuracy", "simulation": "pearson",
    }  # fmt: skip
    text, html = made.read("scorecard.txt").decode(), made.read("report.html").decode()
    for words in ("Pearson correlation", "Accuracy", "AUPRC", "0.200"):
        assert words in text
    assert max(len(line) for line in text.splitlines()) <= 100
    for words in (
        "Which of five marked windows",
        "Pearson correlation",
        "data-score-intruder",
        "data-score-simulation",
    ):
        assert words in html
    comparison = document["scorers"]["simulation"]["metrics"]["pearson"]["comparison"]
    assert comparison["difference"]["value"] > 0
