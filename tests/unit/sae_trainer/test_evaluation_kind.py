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
from numpy.random import default_rng
from sae_trainer import evaluation_kind
from sae_trainer.config import Config
from sae_trainer.core.density import density_histogram
from sae_trainer.core.gaussian_rows import Accumulator, gaussian_batches, merged, stacked, unstacked
from sae_trainer.core.held_out import added, batch_sums
from sae_trainer.core.measures import below_floor, measures
from sae_trainer.evaluation_kind import EvaluationKind
from sae_trainer.spec import EvaluationSpec
from safetensors.numpy import save_file
from torch import Tensor

from tests.support.local_run import reversed_order, run_local
from tests.unit.sae_trainer.activations_folder import HOOKPOINT, MODEL, write_activations
from tests.unit.sae_trainer.coder_folder import opener, write_coder
from tests.unit.sparse_coders.planted import planted_activations

CONFIG = Config(torch_threads=1, device="cpu", shuffle_bytes=2**30)
TOKENS_ID = "tokens-" + "0" * 32


def make_coder(tmp_path: Path, **changes: object) -> FolderArtifact:
    """A coder that knows the planted dictionary and half as many random directions, said to be trained on `train`."""
    source = write_activations(tmp_path / "train", planted_activations(3000, 32, 48, 3).split(1500), **changes)  # type: ignore[arg-type]
    manifest = source.manifest
    said = {name: manifest.spec[name] for name in ("model", "tokens_id", "split")}
    row_count = manifest.statistics["row_count"]
    return write_coder(tmp_path / "coder", planted_coder(), activations_id=source.id, row_count=row_count, **said)


def planted_coder() -> sparse_coders.TopKCoder:
    coder = sparse_coders.TopKCoder(32, 72, 3)
    atoms = torch.randn(48, 32, generator=torch.Generator().manual_seed(99))  # as in planted_activations
    others = torch.randn(24, 32, generator=torch.Generator().manual_seed(1))
    coder.W_enc.data.copy_(torch.nn.functional.normalize(torch.cat([atoms, others])))
    coder.W_dec.data.copy_(0.8 * coder.W_enc)
    coder.b_enc.data[60:] = -9.0
    coder.b_dec.data.fill_(2.0)
    return coder


def held_out(tmp_path: Path, x: Tensor | None = None, **changes: object) -> FolderArtifact:
    x = planted_activations(2000, 32, 48, 3, seed=1) if x is None else x
    options = {"split": "test", "first_row": 300} | changes
    return write_activations(tmp_path / "test", x.split(700), **options)  # type: ignore[arg-type]


def evaluate(
    coder: FolderArtifact, source: FolderArtifact, folder: Path, *, floor_tokens: int = 0, **artifacts: FolderArtifact
) -> FolderArtifact:
    spec = EvaluationSpec(coder_id=coder.id, activations_id=source.id, batch_tokens=333, floor_tokens=floor_tokens)
    inputs = {"coder": coder, "activations": source}
    return run_local(EvaluationKind(CONFIG, opener(*artifacts.values())), spec, inputs, folder)


def check(coder: FolderArtifact, source: FolderArtifact, *, committed: tuple[bool, bool] = (True, True)) -> None:
    infos = {
        role: InputInfo(a.id, a.manifest.kind, a.manifest.spec, a.manifest if there else None)
        for role, a, there in zip(("coder", "activations"), (coder, source), committed, strict=True)
    }
    EvaluationKind(CONFIG, opener()).check(EvaluationSpec(coder_id=coder.id, activations_id=source.id), infos)


def test_figures_are_their_definitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_kind, "_TASK_TOKENS", 1000)  # several tasks
    x = planted_activations(2000, 32, 48, 3, seed=1)
    coder_artifact = make_coder(tmp_path)
    result = evaluate(coder_artifact, held_out(tmp_path, x), tmp_path / "evaluation")
    coder = sparse_coders.frozen(sparse_coders.load(tmp_path / "coder"))
    acts, indices = coder.encode(x)
    y, r, c = x.double(), coder(x).double(), coder.b_dec.double()
    firing = torch.bincount(indices[acts > 0], minlength=72)
    said = result.manifest.statistics
    fvu = (y - r).square().sum() / (y - y.mean(0)).square().sum()
    expected = {
        "fvu": fvu,
        "explained_variance": 1 - fvu,
        "mse": (y - r).square().sum(1).mean(),
        "cosine": torch.cosine_similarity(y, r).mean(),
        "l2_ratio": (r.norm(dim=1) / y.norm(dim=1)).mean(),
        "reconstruction_bias": r.square().sum() / (r * y).sum(),
        "latent_bias": (r - c).square().sum() / ((r - c) * (y - c)).sum(),
        "l0": (acts > 0).sum(1).double().mean(),
        "l1": acts.double().sum(1).mean(),
        "dead_fraction": (firing == 0).double().mean(),
        "dense_fraction": (firing > 200).double().mean(),
    }
    for name, value in expected.items():
        assert said[name] == pytest.approx(value.item(), rel=1e-9), name
        if not name.endswith("fraction") and name != "explained_variance":
            low, high = said[f"{name}_interval"]  # type: ignore[misc]
            assert low <= said[name] <= high, name  # type: ignore[operator]
    assert (said["token_count"], said["document_overlap_count"], said["interval_unit"]) == (2000, 0, "rows")
    assert 0.05 < float(str(said["fvu"])) < 0.5
    assert 0 < expected["dead_fraction"] < expected["dense_fraction"] + 1
    assert json.loads(result.read("evaluation.json")) == said
    table = pq.read_table(tmp_path / "evaluation" / "latents.parquet").to_pydict()
    assert table["latent"] == list(range(72))
    assert table["firing_count"] == firing.tolist()
    assert table["density"] == pytest.approx((firing / 2000).tolist())
    mean = acts.double().flatten()[indices.flatten() == 5].sum() / firing[5]
    assert table["mean_activation"][5] == pytest.approx(mean.item())
    assert [value is None for value in table["log10_density"]] == (firing == 0).tolist()
    assert {p.name for p in result.manifest.parts} == {"latents.parquet", "evaluation.json", "evaluation.html"}


def test_shrinkage_is_seen_where_the_mean_does_not_hide_it(tmp_path: Path) -> None:
    """Halving what the latents give halves gamma of the latents, and hardly moves the published one."""
    figures = []
    for factor in (1.0, 0.5):
        coder = planted_coder()
        coder.W_dec.data.mul_(factor)
        x = planted_activations(500, 32, 48, 3, seed=1)
        figures.append(measures(batch_sums(coder, x, x, torch.arange(500) // 10), default_rng(0)))
    assert figures[1].latent_bias == pytest.approx(0.5 * (figures[0].latent_bias or 0))
    assert figures[1].reconstruction_bias == pytest.approx(1.0, abs=0.05)
    assert figures[1].l2_ratio < figures[0].l2_ratio


def test_densities_are_counted_by_their_logarithm() -> None:
    histogram = density_histogram(np.asarray([0, 0, 1, 10, 11, 1000]), 1000)
    assert (histogram.dead_count, sum(histogram.counts), len(histogram.counts)) == (2, 4, 32)
    found = dict(zip(histogram.log10_edges, histogram.counts, strict=False))
    assert (found[-3.0], found[-2.0], found[-0.25]) == (1, 2, 1)  # edge to the bin that begins there
    assert density_histogram(np.asarray([1]), 10**10).counts[0] == 1


def test_gaussian_activations_have_no_more_than_mean_and_covariance(tmp_path: Path) -> None:
    """Planted latents are sparse, so a coder that knows them is far below its floor; on Gaussian rows it is at it."""
    coder, x = make_coder(tmp_path), planted_activations(6000, 32, 48, 3, seed=1)
    said = evaluate(coder, held_out(tmp_path / "p", x), tmp_path / "e", floor_tokens=4000).manifest.statistics
    assert said["gaussian_token_count"] == 4000
    assert float(str(said["gaussian_fvu"])) > 1.5 * float(str(said["fvu"]))
    low, high = said["below_gaussian_interval"]  # type: ignore[misc]
    assert 0.3 < low < said["below_gaussian"] < high  # type: ignore[operator]
    centred = x.double() - x.double().mean(0)
    root = torch.linalg.cholesky(centred.T @ centred / len(x))
    rows = torch.randn(6000, 32, generator=torch.Generator().manual_seed(5), dtype=torch.float64) @ root.T + 2
    source = held_out(tmp_path / "g", rows.float())
    again = evaluate(coder, source, tmp_path / "f", floor_tokens=10**6).manifest.statistics
    assert again["gaussian_token_count"] == 6000  # at most as many as the set has
    low, high = again["below_gaussian_interval"]  # type: ignore[misc]
    assert low < 0 < high
    assert abs(again["below_gaussian"]) < 0.02  # type: ignore[arg-type]


def test_the_same_bytes_in_another_order_of_tasks_and_after_a_death(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation_kind, "_TASK_TOKENS", 700)
    coder, source = make_coder(tmp_path), held_out(tmp_path)
    spec = EvaluationSpec(coder_id=coder.id, activations_id=source.id, batch_tokens=333, floor_tokens=1000)
    inputs = {"coder": coder, "activations": source}
    kind = EvaluationKind(CONFIG, opener())
    quiet = run_local(kind, spec, inputs, tmp_path / "quiet")
    rough = run_local(kind, spec, inputs, tmp_path / "rough", order=reversed_order, resume_after=1)
    assert len(quiet.names()) == 3
    for name in quiet.names():
        assert quiet.read(name) == rough.read(name), name


def test_gaussian_rows_have_the_moments_asked_for_even_without_full_rank(tmp_path: Path) -> None:
    x = planted_activations(20, 32, 48, 3).double()  # fewer tokens than dimensions
    accumulator = Accumulator(32)
    for batch in x.split(7):
        accumulator.add(batch)
    rows = torch.cat(list(gaussian_batches(merged([accumulator.moments()]), 50_000, 999, seed=1)))
    torch.testing.assert_close(rows.mean(0), x.mean(0), rtol=0, atol=0.02)
    torch.testing.assert_close(rows.T.cov(), x.T.cov(correction=0), rtol=0, atol=0.03)


def test_the_floor_of_a_transcoder_is_of_what_it_reads_and_gives_together() -> None:
    """y = x A + noise: a linear skip connection is as good on Gaussian rows, which have the same covariance of both."""
    generator = torch.Generator().manual_seed(0)
    x, A = planted_activations(3000, 8, 12, 2), torch.randn(8, 6, generator=generator)
    y = x @ A + 0.3 * torch.randn(3000, 6, generator=generator)
    coder = sparse_coders.TopKCoder(8, 16, 2, transcoder=True, d_out=6, skip=True)
    assert coder.W_skip is not None
    coder.W_skip.data.copy_(A.T)
    coder.b_dec.data.fill_(0.1)
    accumulator = Accumulator(14)
    accumulator.add(stacked(coder, x, y))
    (rows,) = gaussian_batches(accumulator.moments(), 3000, 3000, seed=1)
    place = torch.arange(3000) // 10
    read, given = unstacked(coder, rows)
    found = below_floor(batch_sums(coder, x, y, place), batch_sums(coder, read.float(), given, place), default_rng(0))
    assert found.below_gaussian_interval is not None
    assert found.below_gaussian_interval[0] < 0 < found.below_gaussian_interval[1]
    assert abs(found.below_gaussian) < 0.05


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
        EvaluationKind(CONFIG, opener()).check(EvaluationSpec(coder_id=coder.id, activations_id=source.id), infos)
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


def test_intervals_resample_documents_not_rows(tmp_path: Path) -> None:
    """40 rows of a document are alike here: an interval over rows would be far too narrow."""
    document = np.arange(4000) // 10 // 40
    scale = torch.from_numpy(np.linspace(0.2, 2.0, document.max() + 1)[document]).float()
    x = 2 + (planted_activations(4000, 32, 48, 3, seed=1) - 2) * scale[:, None]
    coder, source = make_coder(tmp_path), held_out(tmp_path, x, first_row=0)
    tokens = write_tokens(tmp_path / "tokens", train_row_count=320)
    widths: dict[str, float] = {}
    for folder, artifacts in (("rows", {}), ("documents", {"tokens": tokens})):
        said = evaluate(coder, source, tmp_path / folder, **artifacts).manifest.statistics
        low, high = said["mse_interval"]  # type: ignore[misc]
        widths[str(said["interval_unit"])] = high - low  # type: ignore[operator]
        assert said["block_count"] == (400 if folder == "rows" else 11)  # one is of positions that do not count
    assert widths["documents"] > 3 * widths["rows"]


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
    statistics = {"train_row_count": train_row_count, "row_count": 600, "document_count": 15}
    manifest = Manifest(tokens_id, "tokens", 1, {}, {}, parts, statistics)
    (folder / "manifest.json").write_bytes(manifest_to_json(manifest))
    return FolderArtifact(folder)


def _measured(path: Path) -> dict[str, object]:
    import hashlib

    data = path.read_bytes()
    return {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
