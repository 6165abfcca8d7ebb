"""Artifacts in folders, and the driver that the services' tests run their kinds with."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from dragoman.artifacts import Manifest, PartInfo
from dragoman.errors import DataLoss, FailedPrecondition, NotFound, UserTaskError
from dragoman.folder import FolderArtifact, FolderArtifacts
from dragoman.manifests import check_part_names, manifest_from_json, manifest_to_json

from tests.support.local_run import reversed_order, run_local
from tests.support.word_count import WordCount, WordCountSpec

SPEC = WordCountSpec(texts=("one two three", "four", "five six seven eight"))


def test_a_local_run_writes_an_artifact_without_intermediates(tmp_path: Path) -> None:
    artifact = run_local(WordCount(), SPEC, {}, tmp_path / "a")
    assert artifact.names() == ["total/total.json"]
    assert json.loads(artifact.read("total/total.json")) == {"total": 8, "counts": [3, 1, 4]}
    assert artifact.manifest.statistics == {"total": 8, "texts": 3}
    assert sorted(p.name for p in (tmp_path / "a").rglob("*") if p.is_file()) == ["manifest.json", "total.json"]


def test_order_and_resumption_leave_the_same_bytes(tmp_path: Path) -> None:
    straight = run_local(WordCount(), SPEC, {}, tmp_path / "a")
    backwards = run_local(WordCount(), SPEC, {}, tmp_path / "b", order=reversed_order)
    kind = WordCount()
    resumed = run_local(kind, SPEC, {}, tmp_path / "c", resume_after=3)
    assert straight.manifest == backwards.manifest == resumed.manifest
    assert kind.resumed == ["0-0", "0-1", "0-2"]


def test_changed_bytes_are_refused(tmp_path: Path) -> None:
    run_local(WordCount(), SPEC, {}, tmp_path)
    file = tmp_path / "total" / "total.json"
    file.write_bytes(file.read_bytes().replace(b"8", b"9"))
    for read in (FolderArtifact(tmp_path).read, FolderArtifact(tmp_path).download):
        with pytest.raises(DataLoss, match="not what its manifest promises"):
            read("total/total.json")


def test_ranges_and_missing_parts(tmp_path: Path) -> None:
    artifact = run_local(WordCount(), SPEC, {}, tmp_path)
    assert artifact.read_range("total/total.json", 2, 5) == b"total"
    with pytest.raises(DataLoss, match="expected 10 bytes"):
        artifact.read_range("total/total.json", artifact.manifest.parts[0].size_bytes - 5, 10)
    with pytest.raises(NotFound, match=r"no part 'totals'; it has total/total.json"):
        artifact.read("totals")
    artifact.download("total/total.json").unlink()
    with pytest.raises(NotFound, match="holds no file"):
        artifact.read("total/total.json")


def test_folders_side_by_side(tmp_path: Path) -> None:
    artifact = run_local(WordCount(), SPEC, {}, tmp_path / "made")
    artifact.path.rename(tmp_path / artifact.id)
    shelf = FolderArtifacts(tmp_path)
    assert shelf.artifact(artifact.id).manifest == shelf.manifest(artifact.id) == artifact.manifest
    assert shelf.manifest("words-" + "0" * 32) is None
    with pytest.raises(NotFound, match=r"no manifest\.json"):
        shelf.artifact("words-" + "0" * 32)


def _manifest() -> Manifest:
    part = PartInfo("a.json", "artifacts/x/a.json", 2, "0" * 64, 1, {"first": 0, "mean": 0.5}, 1, 2)
    return Manifest("x-1", "x", 3, {"k": [1, None]}, {"tokens": "t"}, (part,), {"ü": True}, 4, "now", {"torch": "2"})


def test_a_manifest_survives_its_document() -> None:
    assert manifest_from_json(manifest_to_json(_manifest())) == _manifest()


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        (b'"schema": 1', b'"schema": 3', FailedPrecondition, "reads up to 2: update it"),
        (b'"schema": 1', b'"schema": "1"', DataLoss, "schema"),
        (b'"failed_count"', b'"failures"', DataLoss, "failed_count: Field required"),
        (b'"row_count": 1,', b'"row_count": "1",', DataLoss, "parts.0.row_count"),
        (b'"row_count": 1,', b'"row_count": 1, "rows": 1,', DataLoss, "parts.0.rows: Extra inputs"),
        (b"{", b"", DataLoss, "not JSON"),
        (b'"failed_count": ', b'"failed_count": NaN, "x": ', DataLoss, "NaN is not a finite number"),
        (b'"failed_count": ', b'"failed_count": 1e999, "x": ', DataLoss, "1e999 is not a finite number"),
    ],
)
def test_a_wrong_document_is_refused(old: bytes, new: bytes, error: type[Exception], message: str) -> None:
    document = manifest_to_json(_manifest())
    assert old in document
    with pytest.raises(error, match=message):
        manifest_from_json(document.replace(old, new, 1))


def test_nan_has_no_place_in_a_manifest() -> None:
    with pytest.raises(UserTaskError, match="null was expected"):
        manifest_to_json(replace(_manifest(), statistics={"fvu": float("nan")}))


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "../a", "a/../b", "a b", "manifest.json", "a//b", ".a", "x" * 201, "a\n"]
)
def test_names_that_no_part_may_have(name: str) -> None:
    with pytest.raises(UserTaskError, match="cannot name a part"):
        check_part_names([name])


def test_part_names_are_unique() -> None:
    check_part_names(["model.layers.9/shard-00000.safetensors", "model.layers.9/shard-00001.safetensors"])
    with pytest.raises(UserTaskError, match="two parts are named 'a'"):
        check_part_names(["a", "a"])
