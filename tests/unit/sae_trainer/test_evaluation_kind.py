"""The evaluation kind over folders: its figures against their definitions, and what it refuses."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sparse_coders
import torch
from dragoman.artifacts import InputInfo, Manifest, PartInfo
from dragoman.errors import InvalidSpec, UserTaskError
from dragoman.folder import FolderArtifact
from dragoman.manifests import manifest_to_json
from sae_trainer import evaluation_kind
from sae_trainer.coder_kind import CoderKind
from sae_trainer.config import Config
from sae_trainer.core.held_out import added, batch_sums
from sae_trainer.evaluation_kind import EvaluationKind
from sae_trainer.spec import CoderSpec, EvaluationSpec
from safetensors.numpy import save_file
from torch import Tensor

from tests.support.local_run import run_local
from tests.unit.sae_trainer.activations_folder import HOOKPOINT, MODEL, write_activations
from tests.unit.sparse_coders.planted import planted_activations

CONFIG = Config(torch_threads=1, device="cpu", shuffle_bytes=2**30)
TOKENS_ID = "tokens-" + "0" * 32


def make_coder(tmp_path: Path, **changes: object) -> FolderArtifact:
    source = write_activations(tmp_path / "train", planted_activations(3000, 32, 48, 3).split(1500), **changes)  # type: ignore[arg-type]
    fields = {"d_sae": 96, "k": 3, "batch_tokens": 100, "epochs": 20, "learning_rate": 3e-3}
    spec = CoderSpec.model_validate({"activations_id": source.id, **fields})
    return run_local(CoderKind(CONFIG), spec, {"activations": source}, tmp_path / "coder")


def held_out(tmp_path: Path, x: Tensor | None = None, **changes: object) -> FolderArtifact:
    x = planted_activations(2000, 32, 48, 3, seed=1) if x is None else x
    options = {"split": "test", "first_row": 300} | changes
    return write_activations(tmp_path / "test", x.split(700), **options)  # type: ignore[arg-type]


def evaluate(
    coder: FolderArtifact, source: FolderArtifact, folder: Path, **artifacts: FolderArtifact
) -> FolderArtifact:
    kind = EvaluationKind(CONFIG, {a.id: a for a in artifacts.values()}.__getitem__)
    spec = EvaluationSpec(coder_id=coder.id, activations_id=source.id, batch_tokens=333)
    return run_local(kind, spec, {"coder": coder, "activations": source}, folder)


def check(coder: FolderArtifact, source: FolderArtifact, *, committed: tuple[bool, bool] = (True, True)) -> None:
    infos = {
        role: InputInfo(a.id, a.manifest.kind, a.manifest.spec, a.manifest if there else None)
        for role, a, there in zip(("coder", "activations"), (coder, source), committed, strict=True)
    }
    EvaluationKind(CONFIG, {}.__getitem__).check(EvaluationSpec(coder_id=coder.id, activations_id=source.id), infos)


def test_figures_are_their_definitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_kind, "_TASK_TOKENS", 1000)  # several tasks
    x = planted_activations(2000, 32, 48, 3, seed=1)
    coder_artifact = make_coder(tmp_path)
    result = evaluate(coder_artifact, held_out(tmp_path, x), tmp_path / "evaluation")
    coder = sparse_coders.load(tmp_path / "coder")
    acts, indices = coder.encode(x)
    exact, error = x.double(), (coder(x).double() - x.double())
    firing = torch.bincount(indices[acts > 0], minlength=96)
    said = result.manifest.statistics
    expected = {
        "fvu": error.square().sum() / (exact - exact.mean(0)).square().sum(),
        "mse": error.square().sum(1).mean(),
        "cosine": torch.cosine_similarity(exact, exact + error).mean(),
        "l0": (acts > 0).sum(1).double().mean(),
        "dead_fraction": (firing == 0).double().mean(),
        "dense_fraction": (firing > 200).double().mean(),
    }
    for name, value in expected.items():
        assert said[name] == pytest.approx(value.item(), rel=1e-9), name
    assert (said["token_count"], said["document_overlap_count"]) == (2000, 0)
    assert 0 < float(str(said["fvu"])) < 0.3
    assert json.loads(result.read("evaluation.json")) == said
    table = pq.read_table(tmp_path / "evaluation" / "latents.parquet").to_pydict()
    assert table["latent"] == list(range(96))
    assert table["firing_count"] == firing.tolist()
    assert table["density"] == pytest.approx((firing / 2000).tolist())
    assert {p.name for p in result.manifest.parts} == {"latents.parquet", "evaluation.json"}


def test_the_interval_holds_the_figure_and_narrows_with_more_rows(tmp_path: Path) -> None:
    coder = make_coder(tmp_path)
    widths = []
    for count in (500, 8000):
        source = held_out(tmp_path / str(count), planted_activations(count, 32, 48, 3, seed=2))
        said = evaluate(coder, source, tmp_path / f"e{count}").manifest.statistics
        low, high = said["fvu_interval"]  # type: ignore[misc]
        assert low < said["fvu"] < high  # type: ignore[operator]
        widths.append(high - low)  # type: ignore[operator]
    assert widths[1] < 0.5 * widths[0]


def test_a_single_row_has_no_interval(tmp_path: Path) -> None:
    source = held_out(tmp_path, planted_activations(200, 32, 48, 3, seed=2), row_length=200)
    assert evaluate(make_coder(tmp_path), source, tmp_path / "e").manifest.statistics["fvu_interval"] is None


def test_the_mean_predictor_scores_one(tmp_path: Path) -> None:
    """A coder that decodes to the held-out mean whatever it is given has FVU 1."""
    x = planted_activations(2000, 32, 48, 3, seed=1)
    coder = make_coder(tmp_path)
    weights = sparse_coders.load(tmp_path / "coder")
    weights.b_enc.data[:] = -1e6
    weights.b_dec.data[:] = x.mean(0)
    sparse_coders.save(weights, tmp_path / "coder")
    parts = [dataclasses.replace(p, **_measured(tmp_path / "coder" / p.name)) for p in coder.manifest.parts]
    edited = FolderArtifact(tmp_path / "coder", dataclasses.replace(coder.manifest, parts=parts))
    said = evaluate(edited, held_out(tmp_path, x), tmp_path / "e").manifest.statistics
    assert said["fvu"] == pytest.approx(1.0, abs=1e-6)
    assert (said["l0"], said["dead_fraction"]) == (0.0, 1.0)


def test_sums_do_not_depend_on_how_the_set_is_cut() -> None:
    x = planted_activations(500, 16, 32, 3) + 1000  # a mean that would eat float32's digits
    coder = sparse_coders.initial_coder(16, 64, 4, x, seed=0)
    blocks = torch.arange(500) // 7
    whole = batch_sums(coder, x, x, blocks)
    cut = added([batch_sums(coder, a, a, b) for a, b in zip(x.split(33), blocks.split(33), strict=True)])
    for field in dataclasses.fields(whole):
        torch.testing.assert_close(getattr(cut, field.name), getattr(whole, field.name), rtol=1e-9, atol=1e-9)


def test_equal_activations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserTaskError, match="no variance"):
        evaluate(make_coder(tmp_path), held_out(tmp_path, torch.full((300, 32), 2.0)), tmp_path / "e")


@pytest.mark.parametrize("split", ["train", "all"])
def test_documents_trained_on_are_refused(tmp_path: Path, split: str) -> None:
    coder = make_coder(tmp_path)
    with pytest.raises(InvalidSpec, match=r"trained on split 'train' of tokens-0+.*evaluate on 'test'") as error:
        check(coder, held_out(tmp_path, split=split))
    assert error.value.reason == "DOCUMENT_OVERLAP"


def test_the_training_activations_themselves_are_refused_before_anything_is_committed(tmp_path: Path) -> None:
    coder = make_coder(tmp_path)
    with pytest.raises(InvalidSpec, match="is what the coder was trained on"):
        check(coder, FolderArtifact(tmp_path / "train"), committed=(False, False))


@pytest.mark.parametrize("change", [{"fingerprint": "f1"}, {"weights": "rerandomized_incl_emb"}])
@pytest.mark.parametrize("committed", [True, False])
def test_another_model_is_refused(tmp_path: Path, change: dict[str, str], committed: bool) -> None:
    coder = make_coder(tmp_path)
    with pytest.raises(
        InvalidSpec, match=r"trained on trained weights \(seed 0\) of f0, these activations are of"
    ) as error:
        check(coder, held_out(tmp_path, model={**MODEL, **change}), committed=(True, committed))
    assert error.value.reason == "MODEL_MISMATCH"


def test_another_place_of_the_same_model_is_fine(tmp_path: Path) -> None:
    check(make_coder(tmp_path), held_out(tmp_path, model={**MODEL, "source": "/elsewhere", "dtype": "bfloat16"}))


def test_another_width_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"of model.layers.9 are 16 wide, for the coder 32 are needed"):
        check(make_coder(tmp_path), held_out(tmp_path, planted_activations(100, 16, 32, 3)))


def test_another_hookpoint_is_refused_before_the_coder_exists(tmp_path: Path) -> None:
    coder, source = make_coder(tmp_path), held_out(tmp_path)
    infos = {
        "coder": InputInfo(coder.id, "coder", {"activations_id": "other", "hookpoint": "layers.8"}, None),
        "activations": InputInfo(source.id, "activations", source.manifest.spec, None),
    }
    with pytest.raises(InvalidSpec, match=r"no hookpoint 'layers.8'.*did you mean 'layers.9'"):
        EvaluationKind(CONFIG, {}.__getitem__).check(EvaluationSpec(coder_id=coder.id, activations_id=source.id), infos)
    assert HOOKPOINT.endswith("layers.9")


def test_overlap_is_counted_by_document_where_splits_do_not_settle_it(tmp_path: Path) -> None:
    """Trained on the first 300 rows of `all`; documents are 40 rows long and 200 rows are `train`."""
    coder = make_coder(tmp_path, split="all")
    tokens = write_tokens(tmp_path / "tokens", train_row_count=200)
    with pytest.raises(UserTaskError, match=r"3 documents of .* were trained on"):
        evaluate(coder, held_out(tmp_path), tmp_path / "e", tokens=tokens)
    far = write_tokens(tmp_path / "far", train_row_count=320)
    assert (
        evaluate(coder, held_out(tmp_path), tmp_path / "f", tokens=far).manifest.statistics["document_overlap_count"]
        == 0
    )


def test_overlap_of_two_tokens_artifacts_is_counted_by_name(tmp_path: Path) -> None:
    coder = make_coder(tmp_path)
    other = "tokens-" + "1" * 32
    tokens = write_tokens(tmp_path / "tokens", train_row_count=320)
    again = write_tokens(tmp_path / "again", train_row_count=200, tokens_id=other)
    source = held_out(tmp_path, tokens_id=other)
    said = evaluate(coder, source, tmp_path / "e", tokens=tokens, again=again).manifest.statistics
    assert said["document_overlap_count"] == 3


def write_tokens(folder: Path, train_row_count: int, tokens_id: str = TOKENS_ID) -> FolderArtifact:
    """600 rows of 10 positions in two shards; a document fills 40 rows, the last position of a row is padding."""
    folder.mkdir()
    documents = np.repeat(np.arange(600) // 40, 10).reshape(600, 10).astype(np.int32)
    documents[:, -1] = -1
    parts = []
    for index, first in enumerate((0, 350)):
        path = folder / f"rows-{index:05d}.safetensors"
        rows = documents[first : first + 350 if index == 0 else 600]
        save_file({"documents": np.ascontiguousarray(rows), "tokens": np.zeros(rows.shape, np.int32)}, path)
        info = PartInfo(path.name, path.name, row_count=len(rows), metadata={"first_row": first}, **_measured(path))
        parts.append(info)
    table = {"document": pa.array(range(15), pa.int32()), "name": [f"d{i}" for i in range(15)], "char_count": [9] * 15}
    pq.write_table(pa.table(table), folder / "documents.parquet")
    parts.append(PartInfo("documents.parquet", "documents.parquet", **_measured(folder / "documents.parquet")))
    manifest = Manifest(tokens_id, "tokens", 1, {}, {}, parts, {"train_row_count": train_row_count, "row_count": 600})
    (folder / "manifest.json").write_bytes(manifest_to_json(manifest))
    return FolderArtifact(folder)


def _measured(path: Path) -> dict[str, object]:
    import hashlib

    data = path.read_bytes()
    return {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
