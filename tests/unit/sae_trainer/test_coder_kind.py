"""The coder kind over folders: what it learns, resumes and refuses."""

import dataclasses
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import sparse_coders
import torch
from dragoman.artifacts import InputInfo
from dragoman.errors import DataLoss, DragomanError, FailedPrecondition, InvalidSpec, UserTaskError
from dragoman.folder import FolderArtifact
from dragoman.kinds import Checkpoint, Context, Part, Progress, Task
from sae_trainer.coder_kind import CoderKind
from sae_trainer.config import Config
from sae_trainer.spec import CoderSpec

from tests.support.local_run import run_local
from tests.unit.sae_trainer.activations_folder import HOOKPOINT, MODEL, write_activations
from tests.unit.sparse_coders.planted import planted_activations

CONFIG = Config(torch_threads=1, device="cpu", shuffle_bytes=2**30)
SMALL = Config(torch_threads=1, device="cpu", shuffle_bytes=1000 * 32 * 4)
FILES = ("sae.safetensors", "cfg.json", "curves.parquet", "curves.html")


def activations(
    tmp_path: Path, sizes: Sequence[int] = (900, 1100, 700), dtype: torch.dtype = torch.float32
) -> FolderArtifact:
    shards = planted_activations(sum(sizes), 32, 48, 3).to(dtype).split(list(sizes))
    return write_activations(tmp_path / "activations", shards)


def spec_for(source: FolderArtifact, **changes: object) -> CoderSpec:
    fields = {"d_sae": 96, "k": 3, "batch_tokens": 128, "epochs": 2.5, "learning_rate": 3e-3, "checkpoint_steps": 7}
    return CoderSpec.model_validate({"activations_id": source.id, **fields, **changes})


def train(
    source: FolderArtifact, folder: Path, config: Config = CONFIG, stop: int | None = None, **changes: object
) -> FolderArtifact:
    return run_local(CoderKind(config), spec_for(source, **changes), {"activations": source}, folder, resume_after=stop)


def info(source: FolderArtifact, *, committed: bool = True) -> dict[str, InputInfo]:
    manifest = source.manifest
    return {"activations": InputInfo(source.id, "activations", manifest.spec, manifest if committed else None)}


def test_a_coder_and_its_curve(tmp_path: Path) -> None:
    source = activations(tmp_path)
    result = train(source, tmp_path / "coder", epochs=30)
    statistics = result.manifest.statistics
    assert {p.name for p in result.manifest.parts} == set(FILES)
    steps = 30 * 2700 // 128
    assert (statistics["step_count"], statistics["token_count"]) == (steps, steps * 128)
    assert (statistics["hookpoint"], statistics["d_model"], statistics["d_sae"]) == (HOOKPOINT, 32, 96)
    assert (statistics["architecture"], statistics["k"], statistics["l0"]) == ("topk", 3, 3.0)
    assert (statistics["model"], statistics["split"]) == (MODEL, "train")
    coder = sparse_coders.load(tmp_path / "coder")
    held_out = planted_activations(2000, 32, 48, 3, seed=1)
    fvu = (coder(held_out) - held_out).square().sum() / (held_out - held_out.mean(0)).square().sum()
    assert fvu < 0.3  # the mean predictor has 1
    assert float(str(statistics["fvu"])) == pytest.approx(fvu.item(), rel=0.5)
    curve = pq.read_table(tmp_path / "coder" / "curves.parquet").to_pydict()
    assert list(curve) == ["step", "token_count", "fvu", "l0", "dead_fraction", "loss", "learning_rate"]
    assert curve["step"] == list(range(1, steps + 1))
    assert curve["fvu"][-1] < 0.3 * curve["fvu"][0]


@pytest.mark.parametrize("config", [CONFIG, SMALL], ids=["one window", "several windows"])
@pytest.mark.parametrize("stop", [9, 14])
def test_a_killed_run_ends_in_the_same_bytes(tmp_path: Path, config: Config, stop: int) -> None:
    source = activations(tmp_path)
    straight = train(source, tmp_path / "straight", config, dead_tokens=400)
    killed = train(source, tmp_path / "killed", config, stop, dead_tokens=400)
    for name in FILES:
        assert straight.read(name) == killed.read(name)


def test_a_resumed_run_does_not_repeat_steps(tmp_path: Path) -> None:
    source = activations(tmp_path)
    kind, spec = CoderKind(CONFIG), spec_for(source)
    first = list_until_checkpoint(kind, spec, context_of(source, tmp_path / "a"))
    assert isinstance(first[-1], Checkpoint)
    resumed = [s for s in kind.run(spec, context_of(source, tmp_path / "b", first[-1].path)) if isinstance(s, Progress)]
    assert resumed[0].message == "resumed at step 7"
    assert resumed[0].done == 7 * 128
    assert resumed[-1].done == resumed[-1].total == 52 * 128
    figures = {"fvu", "l0", "dead_fraction", "learning_rate", "tokens_per_second", "seconds_left"}
    assert set(resumed[-1].metrics) == figures
    assert resumed[-1].unit == "tokens"


def test_a_damaged_checkpoint_starts_again(tmp_path: Path) -> None:
    source = activations(tmp_path)
    straight = train(source, tmp_path / "straight")
    (tmp_path / "broken").write_bytes(b"not safetensors")
    said = list(CoderKind(CONFIG).run(spec_for(source), context_of(source, tmp_path / "b", tmp_path / "broken")))
    assert isinstance(said[0], Progress)
    assert "damaged" in said[0].message
    weights = next(s for s in said if isinstance(s, Part) and s.name == "sae.safetensors")
    assert weights.path is not None
    assert weights.path.read_bytes() == straight.read("sae.safetensors")


def test_seeds_matter(tmp_path: Path) -> None:
    source = activations(tmp_path)
    one, two = train(source, tmp_path / "1"), train(source, tmp_path / "2", seed=1)
    assert one.read("sae.safetensors") != two.read("sae.safetensors")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_activations(tmp_path: Path, dtype: torch.dtype) -> None:
    half = activations(tmp_path / "half", dtype=dtype)
    full = activations(tmp_path / "full")
    ends = [float(str(train(s, tmp_path / str(i)).manifest.statistics["fvu"])) for i, s in enumerate((half, full))]
    assert ends[0] == pytest.approx(ends[1], rel=0.02)
    assert sparse_coders.load(tmp_path / "0", dtype=None).dtype == torch.float32


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_activations_that_are_not_finite(tmp_path: Path, value: float) -> None:
    shards = list(planted_activations(600, 32, 48, 3).split(300))
    shards[1][17, 3] = value
    source = write_activations(tmp_path / "activations", shards)
    with pytest.raises(
        UserTaskError, match=r"shard-00001.* not finite, 1 tokens of 300, the first at token 17 \(row 31\)"
    ):
        train(source, tmp_path / "coder")


def test_a_run_that_diverges_says_what_to_change(tmp_path: Path) -> None:
    source = write_activations(tmp_path / "activations", [torch.full((600, 32), 3.0)])
    with pytest.raises(UserTaskError, match=r"the loss is .* lower learning_rate") as error:
        train(source, tmp_path / "coder")
    assert error.value.reason == "TRAINING_DIVERGED"


def test_a_run_that_ends_above_the_mean_predictor_says_what_to_change(tmp_path: Path) -> None:
    with pytest.raises(UserTaskError, match=r"the FVU is .* and was .* before: .*lower learning_rate, raise") as error:
        train(activations(tmp_path), tmp_path / "coder", learning_rate=1.0, epochs=10, warmup_steps=100)
    assert error.value.reason == "TRAINING_DIVERGED"


def test_progress_is_told_at_least_every_five_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by 0.3 s each time it is asked."""
    now = [0.0]

    def monotonic() -> float:
        now[0] += 0.3
        return now[0]

    monkeypatch.setattr("sae_trainer.training.time", SimpleNamespace(monotonic=monotonic))
    source, told = activations(tmp_path), [0.0]
    for said in CoderKind(CONFIG).run(spec_for(source), context_of(source, tmp_path / "a")):
        if isinstance(said, Progress) and said.message == "training":
            told.append(now[0])
            assert {"fvu", "l0", "dead_fraction", "tokens_per_second", "seconds_left"} <= set(said.metrics)
    assert len(told) > 20
    assert max(after - before for before, after in pairwise(told)) < 5


@pytest.mark.parametrize("refused", [None, "decode changes by 1"])
def test_what_took_the_steps_is_told(
    refused: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Trainer(sparse_coders.CoderTrainer):
        kernels_refused = refused

    monkeypatch.setattr("sae_trainer.coder_run.trainer_of", lambda coder, options, kernels: Trainer(coder, options))
    with caplog.at_level("INFO"):
        statistics = train(activations(tmp_path), tmp_path / "coder").manifest.statistics
    assert (statistics["kernels"], statistics["kernels_refused"]) == ("reference", refused and "triton")
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warned == ([f"Triton's kernels are not used: {refused}"] if refused else [])


def test_kernels_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = activations(tmp_path)
    for kernels, expected in {"auto": "compiled", "reference": "reference"}.items():
        config = Config.from_env({"SAE_TRAINER_TORCH_THREADS": "1", "SAE_TRAINER_KERNELS": kernels})
        statistics = train(source, tmp_path / kernels, config).manifest.statistics
        assert (statistics["kernels"], statistics["kernels_refused"]) == (expected, None)
    with pytest.raises(FailedPrecondition, match="SAE_TRAINER_KERNELS is 'cuda'; expected auto, reference, compiled"):
        Config.from_env({"SAE_TRAINER_KERNELS": "cuda"})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FailedPrecondition, match="is triton but this worker has no package triton"):
        train(source, tmp_path / "triton", dataclasses.replace(CONFIG, kernels="triton"))


def test_a_shard_that_is_not_what_the_manifest_says(tmp_path: Path) -> None:
    source = activations(tmp_path)
    path = tmp_path / "activations" / HOOKPOINT / "shard-00001.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataLoss):
        train(FolderArtifact(tmp_path / "activations"), tmp_path / "coder")
    assert source.id


@pytest.mark.parametrize("committed", [True, False])
def test_unknown_hookpoint(tmp_path: Path, committed: bool) -> None:
    source = activations(tmp_path)
    with pytest.raises(InvalidSpec, match=r"no hookpoint 'layer.9'.*did you mean '(model\.)?layers\.9'") as error:
        CoderKind(CONFIG).check(spec_for(source, hookpoint="layer.9"), info(source, committed=committed))
    assert error.value.violations[0].field == "hookpoint"


@pytest.mark.parametrize("name", ["", "layers.9", "model.layers.9"])
@pytest.mark.parametrize("committed", [True, False])
def test_hookpoints_by_their_end(tmp_path: Path, name: str, committed: bool) -> None:
    source = activations(tmp_path)
    CoderKind(CONFIG).check(spec_for(source, hookpoint=name), info(source, committed=committed))


def test_several_hookpoints_must_be_named(tmp_path: Path) -> None:
    source = activations(tmp_path)
    spec = {**source.manifest.spec, "hookpoints": ["layers.9", "layers.9.mlp"]}
    two = {"activations": dataclasses.replace(info(source, committed=False)["activations"], spec=spec)}
    with pytest.raises(InvalidSpec, match=r"has 2 hookpoints; name one of layers.9, layers.9.mlp"):
        CoderKind(CONFIG).check(spec_for(source), two)


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"batch_tokens": 4096, "epochs": 1}, "batch_tokens", "2700 tokens times 1 epochs are fewer than one batch"),
        ({"d_sae": None, "expansion_factor": 0.05}, "k", "k is 3 but there are only 2 latents"),
    ],
)
def test_specs_that_do_not_fit(tmp_path: Path, changes: dict[str, object], field: str, message: str) -> None:
    source = activations(tmp_path)
    with pytest.raises(InvalidSpec, match=message) as error:
        CoderKind(CONFIG).check(spec_for(source, **changes), info(source))
    assert error.value.violations[0].field == field
    assert isinstance(error.value, DragomanError)


def test_planning_imports_no_torch() -> None:
    code = "import sys; import sae_trainer.kinds; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def context_of(source: FolderArtifact, scratch: Path, checkpoint: Path | None = None) -> Context:
    scratch.mkdir()
    spec = spec_for(source)
    from dragoman.ids import artifact_id

    job_id = artifact_id("coder", CoderKind.version, spec.model_dump(mode="json"))
    return Context(job_id, Task(0, 0), {"activations": source}, {}, source, checkpoint, scratch)


def list_until_checkpoint(kind: CoderKind, spec: CoderSpec, context: Context) -> list[Progress | Part | Checkpoint]:
    said: list[Progress | Part | Checkpoint] = []
    for item in kind.run(spec, context):
        said.append(item)
        if isinstance(item, Checkpoint):
            break
    return said
