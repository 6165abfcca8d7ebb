"""Every architecture, as autoencoder and as transcoder: trained, saved, resumed to the same bytes, measured."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import sparse_coders
import torch
from dragoman.artifacts import InputInfo
from dragoman.errors import DataLoss, InvalidSpec
from dragoman.folder import FolderArtifact, file_sha256
from dragoman.manifests import manifest_to_json
from sae_trainer.coder_kind import CoderKind
from sae_trainer.coder_setup import blank_coder, form_of
from sae_trainer.config import Config
from sae_trainer.core.run_length import run_of
from sae_trainer.scaling import fold, scaling_of
from sae_trainer.spec import CoderSpec
from safetensors.torch import load_file, save_file
from sparse_coders import SparseCoder
from torch import Tensor

from tests.support.local_run import run_local
from tests.unit.sae_trainer.activations_folder import HOOKPOINT, OUTPUT, write_activations
from tests.unit.sparse_coders.planted import planted_activations

CONFIG = Config(torch_threads=1, device="cpu", shuffle_bytes=2**30)
FILES = ("sae.safetensors", "cfg.json", "curves.parquet")
SMALL: Mapping[str, object] = {
    "d_sae": 64,
    "batch_tokens": 256,
    "epochs": 5,
    "learning_rate": 5e-3,
    "checkpoint_steps": 20,
}
ARCHITECTURES: Sequence[Mapping[str, object]] = (
    {"architecture": "topk", "k": 3, "multi_topk": True},
    {"architecture": "relu", "target_l0": 4},
    {"architecture": "jumprelu", "target_l0": 4},
    {"architecture": "gated", "target_l0": 4},
    {"architecture": "batch_topk", "k": 3},
    {"architecture": "matryoshka_batch_topk", "k": 3},
    {"architecture": "frozen_decoder", "k": 3},
    {"architecture": "random", "k": 3},
)
BASELINES = ("frozen_decoder", "random")


def name_of(fields: Mapping[str, object]) -> str:
    return str(fields["architecture"])


def pair(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """What a module reads and gives: the output is a linear map of the sparse input, and something of another norm."""
    x = planted_activations(n, 16, 24, 3, seed)
    weights = torch.randn(16, 12, generator=torch.Generator().manual_seed(7))
    return x, 10 * torch.relu(x @ weights)


def activations(folder: Path, n: int = 6000) -> FolderArtifact:
    x, y = pair(n)
    return write_activations(folder, x.split(n // 2), targets=y.split(n // 2))


def spec_for(source: FolderArtifact, fields: Mapping[str, object]) -> CoderSpec:
    return CoderSpec.model_validate({"activations_id": source.id, "hookpoint": HOOKPOINT, **SMALL, **fields})


def train(
    source: FolderArtifact, folder: Path, fields: Mapping[str, object], stop: int | None = None
) -> FolderArtifact:
    return run_local(CoderKind(CONFIG), spec_for(source, fields), {"activations": source}, folder, resume_after=stop)


@pytest.mark.parametrize("fields", ARCHITECTURES, ids=name_of)
def test_an_autoencoder(tmp_path: Path, fields: Mapping[str, object]) -> None:
    statistics = train(activations(tmp_path / "a"), tmp_path / "coder", fields).manifest.statistics
    coder = sparse_coders.load(tmp_path / "coder")
    baseline = fields["architecture"] in BASELINES
    assert statistics["baseline"] == (fields["architecture"] if baseline else None)
    assert statistics["architecture"] == coder.architecture == ("topk" if baseline else fields["architecture"])
    x, _ = pair(1000, seed=1)
    found = fvu(coder, x, x)
    assert float(str(statistics["fvu"])) == pytest.approx(found, rel=0.15)
    assert found < (0.9 if fields["architecture"] in ("relu", *BASELINES) else 0.5)


@pytest.mark.parametrize(
    "fields",
    [
        *ARCHITECTURES,
        {"architecture": "topk", "k": 3, "output_hookpoint": OUTPUT, "skip": True, "ema_decay": 0.9},
        {"architecture": "gated", "target_l0": 4, "output_hookpoint": OUTPUT, "optimiser": "schedule_free"},
        {"architecture": "relu", "target_l0": 4, "optimiser": "signum", "resample_tokens": 1000, "dead_tokens": 300},
    ],
    ids=name_of,
)
def test_a_killed_run_ends_in_the_same_bytes(tmp_path: Path, fields: Mapping[str, object]) -> None:
    source = activations(tmp_path / "a", 1200)
    short = {**fields, "checkpoint_steps": 9}
    straight, killed = train(source, tmp_path / "straight", short), train(source, tmp_path / "killed", short, stop=2)
    for name in FILES:
        assert straight.read(name) == killed.read(name), name


@pytest.mark.parametrize(
    ("fields", "skip"),
    [
        ({"architecture": "topk", "k": 3}, False),
        ({"architecture": "topk", "k": 3}, True),
        ({"architecture": "jumprelu", "target_l0": 4}, False),
        ({"architecture": "relu", "target_l0": 4}, True),
    ],
)
def test_a_transcoder(tmp_path: Path, fields: Mapping[str, object], skip: bool) -> None:
    source = activations(tmp_path / "a")
    coder = train(source, tmp_path / "coder", {**fields, "output_hookpoint": OUTPUT, "skip": skip})
    statistics = coder.manifest.statistics
    assert (statistics["hookpoint"], statistics["output_hookpoint"]) == (HOOKPOINT, OUTPUT)
    assert (statistics["transcoder"], statistics["d_model"], statistics["d_out"]) == (True, 16, 12)
    loaded = sparse_coders.load(tmp_path / "coder")
    assert (loaded.W_skip is not None) == skip
    found = fvu(loaded, *pair(1000, seed=1))
    assert found < (0.35 if skip else 0.5)
    assert float(str(statistics["fvu"])) == pytest.approx(found, rel=0.15)


@pytest.mark.parametrize("fields", ARCHITECTURES, ids=name_of)
@pytest.mark.parametrize("transcoder", [False, True])
@torch.no_grad()
def test_a_folded_coder_does_the_same_to_what_is_not_scaled(fields: Mapping[str, object], transcoder: bool) -> None:
    if transcoder and fields["architecture"] in BASELINES:
        return  # refused, see test_spec_and_run.py
    output = {"output_hookpoint": OUTPUT, "skip": True} if transcoder else {}
    spec = CoderSpec.model_validate({"activations_id": "a", **SMALL, **fields, **output})
    x, y = pair(300) if transcoder else (pair(300)[0],) * 2
    form = form_of(spec, run_of(spec, 16, 6000), 16, y.shape[1])
    generator = torch.Generator().manual_seed(0)
    coder = blank_coder(form)
    for parameter in coder.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator))
    scaling = scaling_of(x, y)
    assert (scaling.reads * x).norm(dim=1).mean() == pytest.approx(4)
    wanted = coder(scaling.reads * x) / scaling.gives
    fold(coder, scaling)
    torch.testing.assert_close(coder(x), wanted, rtol=1e-3, atol=1e-3)


def test_hookpoints_of_a_transcoder(tmp_path: Path) -> None:
    source = activations(tmp_path / "a", 1000)
    infos = {"activations": InputInfo(source.id, "activations", source.manifest.spec, source.manifest)}
    cases = {
        "no hookpoint 'layers.9.mpl'": {"output_hookpoint": "layers.9.mpl"},
        "are both model.layers.9;": {"output_hookpoint": "layers.9"},
    }
    for message, fields in cases.items():
        with pytest.raises(InvalidSpec, match=message) as error:
            CoderKind(CONFIG).check(spec_for(source, fields), infos)
        assert error.value.violations[0].field == "output_hookpoint"


def test_shards_of_different_tokens_are_no_pair(tmp_path: Path) -> None:
    source = activations(tmp_path / "a", 1000)
    name = f"{OUTPUT}/shard-00001.safetensors"
    tensors = load_file(source.path / name)
    tensors["rows"] += 1
    save_file(tensors, source.path / name)
    changed = file_sha256(source.path / name)
    parts = [dataclasses.replace(p, sha256=changed) if p.name == name else p for p in source.manifest.parts]
    manifest = dataclasses.replace(source.manifest, parts=parts)
    (source.path / "manifest.json").write_bytes(manifest_to_json(manifest))
    with pytest.raises(DataLoss, match=r"are of different tokens"):
        train(FolderArtifact(source.path), tmp_path / "coder", {"output_hookpoint": OUTPUT, "k": 3})


def test_a_run_that_no_worker_can_hold(tmp_path: Path) -> None:
    source = activations(tmp_path / "a", 1000)
    infos = {"activations": InputInfo(source.id, "activations", source.manifest.spec, source.manifest)}
    small = dataclasses.replace(CONFIG, worker_memory_bytes=2**30)
    with pytest.raises(InvalidSpec, match=r"the run needs 2\..* GiB: .* GiB for weights.*the largest worker has 1 GiB"):
        CoderKind(small).check(spec_for(source, {"d_sae": 4_000_000, "k": 3}), infos)
    CoderKind(small).check(spec_for(source, {"d_sae": 1_000_000, "k": 3}), infos)


@torch.no_grad()
def fvu(coder: SparseCoder, x: Tensor, y: Tensor) -> float:
    return float((coder(x) - y).square().sum() / (y - y.mean(0)).square().sum())
