"""Adaptive stopping: the stated error rate holds in simulation, and a job asks no more than it must."""

from pathlib import Path

import numpy as np
import pytest
from dragoman.folder import FolderArtifact
from scipy import stats
from scorer.core.examples import interleaved
from scorer.core.metrics import auroc
from scorer.core.stopping import ABOVE, BELOW, StoppingRule, auroc_score_interval
from scorer.scores_kind import ScoresKind
from scorer.spec import ScoresSpec

from tests.support.local_run import reversed_order, run_local
from tests.unit.scorer import planted as p
from tests.unit.scorer.test_scores_kind import statistics, table

RUNS, EXAMPLES = 800, 100


def decisions(true_auroc: float, rule: StoppingRule, seed: int) -> tuple[list[str | None], float]:
    """What the rule says of latents whose answers are normal with that AUROC, and the share of examples judged."""
    rng = np.random.Generator(np.random.PCG64(seed))
    gap = np.sqrt(2.0) * stats.norm.ppf(true_auroc)
    looks = rule.looks(EXAMPLES)
    found, judged = [], 0
    for _ in range(RUNS):
        yes, no = rng.normal(gap, 1.0, EXAMPLES // 2), rng.normal(0.0, 1.0, EXAMPLES // 2)
        verdict = None
        for look in range(1, looks + 1):
            size = look * rule.batch // 2
            verdict = rule.verdict(yes[:size], no[:size], looks)
            if verdict is not None:
                break
        found.append(verdict)
        judged += 2 * size
    return found, judged / (RUNS * EXAMPLES)


@pytest.mark.parametrize("error_rate", [0.05, 0.2])
@pytest.mark.parametrize("threshold", [0.6, 0.75])
def test_the_stated_error_rate_holds_at_the_threshold_itself(threshold: float, error_rate: float) -> None:
    """There it is hardest: either decision is wrong by a hair."""
    found, _ = decisions(threshold, StoppingRule(10, None, threshold, error_rate), 1)
    wrong = np.mean([verdict is not None for verdict in found])
    assert wrong <= error_rate + 2.0 * np.sqrt(error_rate * (1 - error_rate) / RUNS)


@pytest.mark.parametrize(("true_auroc", "right"), [(0.95, ABOVE), (0.4, BELOW)])
def test_clear_latents_are_decided_early(true_auroc: float, right: str) -> None:
    found, judged = decisions(true_auroc, StoppingRule(10, None, 0.7, 0.05), 2)
    assert np.mean([verdict == right for verdict in found]) > 0.95
    assert judged < 0.55


def test_interval_covers_and_has_width_where_all_pairs_are_in_order() -> None:
    rng = np.random.Generator(np.random.PCG64(3))
    for true in (0.5, 0.8, 0.95):
        gap = np.sqrt(2.0) * stats.norm.ppf(true)
        values = [auroc(rng.normal(gap, 1.0, 20), rng.normal(0.0, 1.0, 20)) for _ in range(600)]
        covered = [(i := auroc_score_interval(v, 20, 20, 0.05)).low <= true <= i.high for v in values]
        assert np.mean(covered) > 0.925, true
    perfect = auroc_score_interval(1.0, 5, 5, 0.05)
    assert perfect.high == 1.0
    assert 0.4 < perfect.low < 0.8


# ---------------------------------------------------------------- the job


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> p.Laid:
    return p.lay_out(p.planted(6), tmp_path_factory.mktemp("artifacts"))


def scored(laid: p.Laid, rule: p.Rule, folder: Path, stop: object, **how: object) -> tuple[FolderArtifact, p.RuleJudge]:
    spec = ScoresSpec(
        explanations_id=p.EXPLANATIONS_ID, latents_id=p.LATENTS_ID, scorer="detection", window_length=p.LENGTH,
        bootstrap_count=100, null_count=5, stop=stop,
    )  # fmt: skip
    judge = p.RuleJudge(rule)
    return run_local(ScoresKind(judge, laid.artifacts), spec, laid.inputs, folder / "scores", **how), judge


def test_an_oracles_latents_stop_early_and_the_saving_is_told(laid: p.Laid, tmp_path: Path) -> None:
    made, judge = scored(laid, p.oracle, tmp_path, {"threshold": 0.6})
    found = statistics(made)
    told = found["stopping"]
    assert told["available_count"] == 6 * 40
    assert told["example_count"] == sum(r["n_active"] + r["n_inactive"] for r in table(made, "latents.parquet"))
    assert told["saved_fraction"] == 1 - told["example_count"] / told["available_count"] > 0.4
    assert told["latents_by_reason"]["above"] == 6
    assert len(judge.prompts) == found["question_count"] == told["example_count"] + 6 * 10
    assert found["auroc"]["mean"] >= 0.95
    for row in table(made, "latents.parquet"):
        assert row["n_active"] == row["n_inactive"], "every beginning is balanced"
        assert (row["stopped"], row["n_available"]) == ("above", 40)


def test_what_is_not_decided_is_judged_to_the_end(laid: p.Laid, tmp_path: Path) -> None:
    made, _ = scored(laid, lambda _: 0.5, tmp_path, {"threshold": 0.5})
    assert statistics(made)["stopping"]["latents_by_reason"] == {"all": 6}
    assert statistics(made)["stopping"]["saved_fraction"] == 0.0
    assert all(row["auroc"] == 0.5 for row in table(made, "latents.parquet"))


def test_stopping_does_not_depend_on_the_order_of_tasks(laid: p.Laid, tmp_path: Path) -> None:
    stop = {"threshold": 0.6, "interval_width": 0.35, "batch_count": 6}

    def noisy(asked: p.Asked) -> float:
        return 0.5 + 0.3 * (p.oracle(asked) - 0.5) + 0.4 * (asked.chance() - 0.5)

    made, _ = scored(laid, noisy, tmp_path / "a", stop)
    again, _ = scored(laid, noisy, tmp_path / "b", stop, order=reversed_order, resume_after=1)
    assert [q.sha256 for q in made.manifest.parts] == [q.sha256 for q in again.manifest.parts]
    assert len(statistics(made)["stopping"]["latents_by_reason"]) >= 1


def test_nothing_to_stop_by_is_refused() -> None:
    with pytest.raises(ValueError, match="give interval_width, threshold or both"):
        ScoresSpec(explanations_id="e", latents_id="l", scorer="detection", stop={})
    assert interleaved([]) == []
