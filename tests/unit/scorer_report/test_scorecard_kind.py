"""The job kind `scorecard` over artifacts in folders."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from dragoman.artifacts import InputInfo
from dragoman.errors import InvalidSpec
from dragoman.folder import FolderArtifact
from pydantic import ValidationError
from scorer.scorecard_kind import ScorecardKind
from scorer.scorecard_spec import RunRef, ScorecardSpec

from tests.support.local_run import run_local
from tests.unit.scorer_report.synthetic import Laid, Plan, lay_out

PARTS = ["scorecard.json", "scorecard.txt", "summary.parquet", "latents.parquet", "report.html"]


def made(laid: Laid, folder: Path) -> FolderArtifact:
    return run_local(ScorecardKind(laid.artifacts), laid.spec, laid.inputs, folder)


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Laid:
    return lay_out(tmp_path_factory.mktemp("inputs"), Plan())


@pytest.fixture(scope="module")
def artifact(laid: Laid, tmp_path_factory: pytest.TempPathFactory) -> FolderArtifact:
    return made(laid, tmp_path_factory.mktemp("made"))


def infos(laid: Laid, committed: bool = True) -> dict[str, InputInfo]:
    found = {role: a.manifest for role, a in laid.inputs.items()}
    return {r: InputInfo(m.id, m.kind, m.spec, m if committed else None, m.inputs) for r, m in found.items()}


def message(laid: Laid, spec: ScorecardSpec | None = None, **changed: InputInfo) -> str:
    with pytest.raises(InvalidSpec) as caught:
        ScorecardKind(laid.artifacts).check(spec or laid.spec, {**infos(laid), **changed})
    return caught.value.message


def test_parts_and_document(artifact: FolderArtifact) -> None:
    assert artifact.names() == PARTS
    document = json.loads(artifact.read("scorecard.json"))
    detection = document["scorers"]["detection"]["metrics"]["auroc"]
    assert detection["distinguishable_from_control"] in {"yes", "no"}
    assert set(detection["distinguishable_from_shuffled"]) == {"trained", "control"}
    for side in ("trained", "control"):
        score = detection["sides"][side]["score"]
        assert score["low"] <= score["value"] <= score["high"]
        assert score["n"] == 9
        assert document["sides"][side]["denominators"]["total"] == 4608
    assert document["notes"] == []


def test_means_are_those_of_the_scores_artifacts(laid: Laid, artifact: FolderArtifact) -> None:
    document = json.loads(artifact.read("scorecard.json"))
    for index, scorer in enumerate(("detection", "fuzzing")):
        for side in ("trained", "control"):
            said: Any = laid.inputs[f"{side}.scores.{index}"].manifest.statistics["auroc"]
            mine = document["scorers"][scorer]["metrics"]["auroc"]["sides"][side]["score"]
            assert mine["value"] == pytest.approx(said["mean"])
            assert mine["n"] == said["n"]


def test_statistics_are_the_verdicts_with_their_nulls(artifact: FolderArtifact) -> None:
    found: Any = artifact.manifest.statistics
    fuzzing = found["scorers"]["fuzzing"]
    assert fuzzing["distinguishable_from_control"] == "yes"
    assert {"trained", "control", "trained_shuffled", "control_shuffled", "difference", "floor", "p_value"} <= set(
        fuzzing
    )
    assert found["denominators"]["trained"]["scored"] == {"detection": 9, "fuzzing": 9}
    assert len(json.dumps(found)) < 8_000


def test_tables(artifact: FolderArtifact) -> None:
    latents = pq.read_table(io.BytesIO(artifact.read("latents.parquet")))
    assert latents.num_rows == 2 * 2 * 10
    assert latents.column_names[:3] == ["side", "scorer", "latent"]
    summary = pq.read_table(io.BytesIO(artifact.read("summary.parquet"))).to_pylist()
    by_name = {(r["scorer"], r["metric"], r["quantity"], r["side"]): r for r in summary}
    assert len(by_name) == len(summary)
    fvu = by_name[None, None, "fvu", "control"]
    assert (fvu["value"], fvu["low"], fvu["high"], fvu["n"]) == (0.391, 0.385, 0.398, 16_384)
    assert by_name["detection", "auroc", "difference", "trained_minus_control"]["p_value"] is not None
    for row in summary:
        if row["quantity"] in {"score", "shuffled", "difference", "cliffs_delta", "hedges_g"}:
            assert row["n"] is not None
            assert row["low"] is not None


def test_same_inputs_give_the_same_bytes(laid: Laid, artifact: FolderArtifact, tmp_path: Path) -> None:
    again = made(laid, tmp_path / "again")
    for name in PARTS:
        assert again.read(name) == artifact.read(name), name


def test_terminal_text_fits_and_says_the_verdicts(artifact: FolderArtifact) -> None:
    text = artifact.read("scorecard.txt").decode()
    assert max(map(len, text.splitlines())) <= 100
    for needed in ("SmolLM2-135M", "DETECTION", "FUZZING", "Cliff's delta", "floor", "FVU", "attempted", "n=9"):
        assert needed in text


def test_terminal_text_holds_with_long_and_hostile_names(tmp_path: Path) -> None:
    laid = lay_out(tmp_path / "inputs", Plan(count=2), title="\x1b[31m" + "long " * 90)
    text = made(laid, tmp_path / "made").read("scorecard.txt").decode()
    assert max(map(len, text.splitlines())) <= 100
    assert "\x1b" not in text
    assert "too few latents to tell" in text


def test_runs_without_evaluation_and_without_probabilities(tmp_path: Path) -> None:
    laid = lay_out(tmp_path / "inputs", Plan(with_evaluation=False, with_probabilities=False))
    artifact = made(laid, tmp_path / "made")
    document = json.loads(artifact.read("scorecard.json"))
    assert document["sides"]["trained"]["reconstruction"] is None
    assert document["scorers"]["detection"]["headline"] == "balanced_accuracy"
    assert any("log-probabilities" in note for note in document["notes"])
    assert "trained.evaluation" not in laid.inputs


# ---------------------------------------------------------------- what is refused


def test_good_specs_pass_committed_or_not(laid: Laid) -> None:
    kind = ScorecardKind(laid.artifacts)
    kind.check(laid.spec, infos(laid))
    kind.check(laid.spec, infos(laid, committed=False))


def test_scores_of_other_explanations(laid: Laid) -> None:
    spec = laid.spec.model_copy(
        update={"trained": laid.spec.trained.model_copy(update={"explanations_id": "explanations-" + "0" * 32})}
    )
    said = message(laid, spec)
    assert "trained.scores_ids[0]" in said
    assert "give scores of trained.explanations_id" in said


def test_other_scorers_on_the_sides(tmp_path: Path) -> None:
    laid = lay_out(tmp_path, Plan(scorers={"trained": ("detection", "fuzzing"), "control": ("detection",)}))
    assert "the control by detection; expected the same scorers on both sides" in message(laid)


def test_one_scorer_twice(laid: Laid) -> None:
    fuzzing = infos(laid)["trained.scores.1"]
    twice = replace(fuzzing, spec={**fuzzing.spec, "scorer": "detection"})
    said = message(laid, **{"trained.scores.1": twice})
    assert "more than one artifact is of the scorer detection" in said


def test_other_judges(laid: Laid) -> None:
    other = infos(laid)["control.scores.0"]
    said = message(laid, **{"control.scores.0": replace(other, spec={**other.spec, "llm": {"model": "another"}})})
    assert "'another'" in said
    assert "expected one judge" in said


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({"trained": "rerandomized_incl_emb", "control": "rerandomized_incl_emb"}, "are the sides exchanged?"),
        ({"trained": "trained", "control": "trained"}, "expected a control"),
    ],
)
def test_wrong_weights(tmp_path: Path, weights: dict[str, str], expected: str) -> None:
    assert expected in message(lay_out(tmp_path, Plan(weights=weights)))


def test_a_baseline_coder_on_the_trained_model_is_a_control_and_said_to_be_one(tmp_path: Path) -> None:
    weights = {"trained": "trained", "control": "trained"}
    laid = lay_out(tmp_path / "in", Plan(count=6, weights=weights, baselines={"control": "random"}))
    document = json.loads(made(laid, tmp_path / "made").read("scorecard.json"))
    said = [document["sides"][side]["subject"]["weights"] for side in ("trained", "control")]
    assert said == ["trained", "trained, random coder"]
    wrong = lay_out(tmp_path / "wrong", Plan(count=2, baselines={"trained": "frozen_decoder"}))
    assert "whose coder is the baseline frozen_decoder" in message(wrong)


def _infos_of(laid: Laid, roles: Any) -> dict[str, InputInfo]:
    manifests = {role: laid.artifacts.artifact(id_).manifest for role, id_ in roles.items()}
    return {role: InputInfo(m.id, m.kind, m.spec, m, m.inputs) for role, m in manifests.items()}


def test_a_run_is_not_its_own_control(laid: Laid) -> None:
    spec = laid.spec.model_copy(update={"control": laid.spec.trained})
    roles = ScorecardKind(laid.artifacts).inputs(spec)
    with pytest.raises(InvalidSpec, match="cannot be its own control"):
        ScorecardKind(laid.artifacts).check(spec, _infos_of(laid, roles))


def test_evaluation_of_another_coder(laid: Laid) -> None:
    evaluation = infos(laid)["control.evaluation"]
    other = replace(evaluation, spec={**evaluation.spec, "coder_id": "coder-" + "1" * 32})
    assert "give the evaluation of that coder" in message(laid, **{"control.evaluation": other})


def test_spec_refuses_no_scores_doubled_ids_and_unknown_fields() -> None:
    one = {"scores_ids": ["scores-" + "0" * 32], "explanations_id": "explanations-" + "0" * 32}
    ScorecardSpec.model_validate({"trained": one, "control": one})
    for wrong in ({**one, "scores_ids": []}, {**one, "scores_ids": one["scores_ids"] * 2}, {**one, "score": 1}):
        with pytest.raises(ValidationError):
            RunRef.model_validate(wrong)
    for field, value in (("confidence", 1.0), ("bootstrap_count", 10), ("seed", 2**63)):
        with pytest.raises(ValidationError):
            ScorecardSpec.model_validate({"trained": one, "control": one, field: value})
