"""The whole job over local folders, with a model that answers by rule."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from dragoman.artifacts import InputInfo
from dragoman.errors import InvalidSpec, UserTaskError
from dragoman.folder import FolderArtifact, FolderArtifacts
from explainer.core.prompt import Prompt
from explainer.explanations_kind import ExplanationsKind
from explainer.spec import ExplanationsSpec
from explainer.writer import Written
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.latents_writer import Kept
from tests.support.local_run import reversed_order, run_local
from tests.support.scripted_writer import Rule, ScriptedWriter, last_line
from tests.support.synthetic_latents import (
    D_SAE,
    DEAD,
    PLANTED,
    RARE,
    activations_of,
    corpus,
    in_folder,
    latents_parts,
    tokens_parts,
)

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    text = corpus(seed=5)
    in_folder(tokens_parts(text), folder)
    in_folder(latents_parts(text, activations_of(text), Kept(top_windows=30)), folder)
    return folder


def spec_of(**fields: Any) -> ExplanationsSpec:
    given = {"window_length": 16, "min_windows": 5, "example_count": 6, "latents_per_task": 2}
    return ExplanationsSpec(**{"latents_id": "latents-" + "1" * 32, **given, **fields})


def run(root: Path, folder: Path, rule: Rule = last_line, **fields: Any) -> tuple[FolderArtifact, ScriptedWriter]:
    writer = ScriptedWriter(rule)
    order = fields.pop("order", None)
    artifacts = FolderArtifacts(root)
    kind = ExplanationsKind(writer, artifacts)
    spec = spec_of(**fields)
    return run_local(kind, spec, {"latents": artifacts.artifact(spec.latents_id)}, folder, order=order), writer


def rows(artifact: FolderArtifact, part: str) -> Rows:
    return pq.read_table(artifact.download(part)).to_pylist()


def test_all_latents_get_a_row_and_every_denominator_adds_up(root: Path, tmp_path: Path) -> None:
    artifact, writer = run(root, tmp_path / "job")
    found = rows(artifact, "explanations.parquet")
    assert [row["rank"] for row in found] == list(range(D_SAE))
    by_latent = {row["latent"]: row for row in found}
    for latent, words in enumerate(PLANTED):
        row = by_latent[latent]
        assert row["outcome"] == "explained"
        assert row["explanation"].startswith("the tokens ")
        assert {w.strip() for w in row["explanation"].removeprefix("the tokens ").split(",")} <= set(words)
        assert (row["model"], row["prompt_tokens"], row["cached_tokens"]) == ("scripted", 100, 60)
        assert row["example_count"] == 6
    assert (by_latent[DEAD]["outcome"], by_latent[DEAD]["prompt"]) == ("dead", None)
    assert by_latent[RARE]["outcome"] == "rare"
    assert "min_windows asks for 5 in each" in by_latent[RARE]["reason"]
    statistics = artifact.manifest.statistics
    assert (statistics["total"], statistics["dead"], statistics["rare"]) == (D_SAE, 1, 1)
    assert (statistics["selected"], statistics["attempted"], statistics["parsed"]) == (D_SAE, 6, 6)
    assert statistics["prompt_tokens"] == 600 == 100 * len(writer.prompts)
    assert artifact.manifest.failed_count == 0


def test_the_prompt_shows_marked_windows_of_the_latent(root: Path, tmp_path: Path) -> None:
    artifact, writer = run(root, tmp_path / "job", selection={"latents": [0]})
    lines = writer.prompts[0].question.splitlines()
    shown = [line for line in lines if line.startswith("- ")]
    assert len(shown) == 6
    for line in shown:
        for piece in line.split("<<")[1:]:
            assert piece.split(">>")[0].strip() in PLANTED[0]
    windows = [w for w in rows(artifact, "windows.parquet") if w["shown"]]
    assert [w["max_activation"] for w in windows] == sorted((w["max_activation"] for w in windows), reverse=True)
    assert {w["quantile"] for w in windows} == set(range(4, 10))
    for window, line in zip(windows, shown, strict=True):
        assert "".join(window["tokens"]).strip() == line[2:].replace("<<", "").replace(">>", "")
        assert len(window["tokens"]) == len(window["activations"]) == 16


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from(["quantiles", "top", "random"]),
    st.integers(1, 30),
)
def test_no_shown_window_is_of_a_test_document(
    tmp_path_factory: pytest.TempPathFactory, root: Path, seed: int, sampling: str, count: int
) -> None:
    folder = tmp_path_factory.mktemp("job")
    fields = {"seed": seed, "sampling": sampling, "example_count": count, "min_windows": 2}
    artifact, _ = run(root, folder / "job", **fields)
    text = corpus(seed=5)
    test_documents = set(text.documents[text.train_row_count :].reshape(-1).tolist()) - {-1}
    shown = [w for w in rows(artifact, "windows.parquet") if w["shown"]]
    assert shown
    assert not {w["document"] for w in shown} & test_documents
    assert {w["split"] for w in shown} == {"train"}
    assert all(w["row"] < text.train_row_count for w in shown)
    for row in rows(artifact, "explanations.parquet"):
        assert set(row["example_documents"]) == {w["document"] for w in shown if w["latent"] == row["latent"]}


def test_bytes_do_not_depend_on_the_order_of_tasks(root: Path, tmp_path: Path) -> None:
    one, _ = run(root, tmp_path / "a")
    two, _ = run(root, tmp_path / "b", order=reversed_order)
    assert one.id == two.id
    assert [(p.name, p.sha256) for p in one.manifest.parts] == [(p.name, p.sha256) for p in two.manifest.parts]
    assert [p.name for p in one.manifest.parts] == ["explanations.parquet", "windows.parquet"]
    assert one.manifest.statistics == two.manifest.statistics


def test_grouping_changes_no_row(root: Path, tmp_path: Path) -> None:
    one, _ = run(root, tmp_path / "a", latents_per_task=1)
    two, _ = run(root, tmp_path / "b", latents_per_task=100)
    for part in ("explanations.parquet", "windows.parquet"):
        assert rows(one, part) == rows(two, part)


@pytest.mark.parametrize(
    "selection", [{"ranks": [3, 0, 7]}, {"latents": [2, 0, DEAD]}, {"count": 3}, {"count": 8}], ids=str
)
def test_rows_are_in_the_order_of_the_selection(root: Path, tmp_path: Path, selection: Mapping[str, Any]) -> None:
    artifact, _ = run(root, tmp_path / "job", selection=selection)
    found = rows(artifact, "explanations.parquet")
    if "ranks" in selection:
        assert [row["rank"] for row in found] == selection["ranks"]
    elif "latents" in selection:
        assert [row["latent"] for row in found] == selection["latents"]
    else:
        assert len(found) == min(selection["count"], 6)
        assert [row["rank"] for row in found] == sorted(row["rank"] for row in found)
        assert {row["outcome"] for row in found} == {"explained"}
    statistics = artifact.manifest.statistics
    assert (statistics["total"], statistics["dead"], statistics["rare"]) == (D_SAE, 1, 1)


def test_the_strongest_windows_of_both_splits_are_kept_for_the_report(root: Path, tmp_path: Path) -> None:
    artifact, _ = run(root, tmp_path / "job")
    strongest = [w for w in rows(artifact, "windows.parquet") if not w["shown"]]
    assert {w["split"] for w in strongest} == {"train", "test"}
    assert {w["quantile"] for w in strongest} == {-1}
    assert RARE in {w["latent"] for w in strongest}


def failing(prompt: Prompt) -> Written:
    """Each planted latent ends otherwise."""
    if "cat" in prompt.question.rsplit("Marked tokens: ", 1)[1]:
        return Written("I have no idea", "stop", 100, 0, 4)
    if "red" in prompt.question.rsplit("Marked tokens: ", 1)[1]:
        return Written("", "", failure="timeout", reason="no reply in time")
    if "Monday" in prompt.question.rsplit("Marked tokens: ", 1)[1]:
        return Written("I'm sorry, I cannot do that.", "stop", 100, 0, 4)
    return last_line(prompt)


def test_failures_are_recorded_by_name_and_never_dropped(root: Path, tmp_path: Path) -> None:
    artifact, _ = run(root, tmp_path / "job", failing, selection={"latents": [0, 1, 2, 3]}, max_failed_fraction=0.75)
    found = rows(artifact, "explanations.parquet")
    assert [row["outcome"] for row in found] == ["unparsable", "timeout", "refused", "explained"]
    assert [row["explanation"] is None for row in found] == [True, True, True, False]
    assert found[0]["reply"] == "I have no idea"
    assert "no line that begins with [EXPLANATION]:" in found[0]["reason"]
    assert found[1]["reason"] == "no reply in time"
    statistics = artifact.manifest.statistics
    assert statistics["failed_by_outcome"] == {"unparsable": 1, "refused": 1, "timeout": 1, "no_evidence": 0}
    assert (statistics["attempted"], statistics["parsed"], artifact.manifest.failed_count) == (4, 1, 3)


def test_too_many_failures_fail_the_job_in_plain_words(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserTaskError) as caught:
        run(root, tmp_path / "job", failing, selection={"latents": [0, 1, 2, 3]}, max_failed_fraction=0.5)
    message = caught.value.message
    assert caught.value.reason == "TOO_MANY_FAILED"
    assert "3 of 4 latents got no explanation (1 unparsable, 1 refused, 1 timeout)" in message
    assert "max_failed_fraction (0.5)" in message
    assert "latent 0 was answered 'I have no idea'" in message


def test_a_run_where_nothing_can_be_explained_succeeds_and_says_so(root: Path, tmp_path: Path) -> None:
    artifact, writer = run(root, tmp_path / "job", min_windows=10**6)
    statistics = artifact.manifest.statistics
    assert writer.prompts == []
    assert (statistics["attempted"], statistics["parsed"], statistics["rare"]) == (0, 0, D_SAE - 1)
    assert {row["outcome"] for row in rows(artifact, "explanations.parquet")} == {"dead", "rare"}


def test_latents_rare_only_by_windows_are_counted_once(root: Path, tmp_path: Path) -> None:
    """A latent that fires often, but in few windows, is rare."""
    artifact, _ = run(root, tmp_path / "job", min_windows=300)
    found = rows(artifact, "explanations.parquet")
    statistics = artifact.manifest.statistics
    rare = [row for row in found if row["outcome"] == "rare"]
    assert statistics["rare"] == statistics["selected_rare"] == len(rare)
    assert any(min(row["firing_count_train"], row["firing_count_test"]) >= 300 for row in rare)
    assert statistics["selected"] == statistics["dead"] + statistics["rare"] + statistics["attempted"]


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"window_length": 65}, "window_length", "expected 16, or give latents made with window_length 65"),
        ({"selection": {"latents": [2, D_SAE]}}, "selection.latents[1]", f"expected 0 to {D_SAE - 1}"),
        ({"selection": {"ranks": [99]}}, "selection.ranks[0]", f"expected 0 to {D_SAE - 1}"),
        ({"selection": {"count": 99}}, "selection.count", f"99 latents of {D_SAE}"),
        ({"latents_id": "tokens-" + "0" * 32}, "latents_id", "is not a latents artifact"),
        ({"latents_id": "my latents"}, "latents_id", "is not an artifact id"),
        ({"prompt_version": "default-0"}, "prompt_version", "this server has prompt 'default-1'"),
    ],
)
def test_an_unfit_spec_is_refused_before_any_work(root: Path, fields: dict[str, Any], field: str, words: str) -> None:
    kind = ExplanationsKind(ScriptedWriter(), FolderArtifacts(root))
    manifest = FolderArtifacts(root).artifact("latents-" + "1" * 32).manifest
    info = InputInfo(manifest.id, "latents", manifest.spec, manifest)
    with pytest.raises(InvalidSpec) as caught:
        kind.check(kind.resolve(spec_of(**fields)), {"latents": info})
    assert caught.value.violations[0].field == field
    assert words in caught.value.message


def test_latents_that_are_not_there_yet_are_checked_by_their_spec(root: Path) -> None:
    kind = ExplanationsKind(ScriptedWriter(), FolderArtifacts(root))
    kept = {"window_length": 16, "top_windows": 3, "quantile_windows": 2}
    waiting = InputInfo("latents-" + "1" * 32, "latents", {"split": "all", **kept}, None)
    kind.check(spec_of(example_count=20), {"latents": waiting})
    with pytest.raises(InvalidSpec, match="100 is not the window length"):
        kind.check(spec_of(window_length=100), {"latents": waiting})
    for how in ("quantiles", "random"):
        with pytest.raises(InvalidSpec, match=r"21 windows are more than the 20 .*quantile_windows 3 or more"):
            kind.check(spec_of(example_count=21, sampling=how), {"latents": waiting})
    with pytest.raises(InvalidSpec, match=r"4 windows are more than the 3 strongest .*made with top_windows 4 or more"):
        kind.check(spec_of(example_count=4, sampling="top"), {"latents": waiting})
    with pytest.raises(InvalidSpec, match="has read train documents only"):
        kind.check(spec_of(), {"latents": replace(waiting, spec={**waiting.spec, "split": "train"})})
    with pytest.raises(InvalidSpec, match="of an older layout"):
        kind.check(spec_of(), {"latents": replace(waiting, spec={"split": "all"})})


def test_the_spec_that_is_hashed_names_model_and_prompt(root: Path) -> None:
    resolved = ExplanationsKind(ScriptedWriter(), FolderArtifacts(root)).resolve(spec_of())
    assert resolved.llm.model == "scripted"
    assert resolved.prompt_version == "default-1"
