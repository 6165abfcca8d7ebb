"""Coders from elsewhere: found, refused, imported and measured."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import sparse_coders
import torch
from dragoman.artifacts import InputInfo
from dragoman.errors import FailedPrecondition, InvalidSpec, Unavailable, UserTaskError
from dragoman.folder import FolderArtifact
from pydantic import ValidationError
from sae_trainer.coder_kind import CoderKind
from sae_trainer.config import Config
from sae_trainer.evaluation_kind import EvaluationKind
from sae_trainer.spec import CoderSpec, EvaluationSpec
from sparse_coders import MalformedCoder, TopKCoder

from tests.support.local_run import run_local
from tests.unit.sae_trainer.activations_folder import OUTPUT, write_activations
from tests.unit.sae_trainer.coder_folder import opener

CONFIG = Config(torch_threads=1, device="cpu", shuffle_bytes=2**30)
FIXTURES = Path(__file__).parents[1] / "sparse_coders" / "saelens"
MODEL = {"source": "EleutherAI/pythia-70m"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def spec_of(source: Path | str, **fields: Any) -> CoderSpec:
    return CoderSpec.model_validate({"imported": {"source": str(source), "model": MODEL, **fields}})


def imported(tmp_path: Path, source: Path | str, **fields: Any) -> FolderArtifact:
    return run_local(CoderKind(CONFIG), spec_of(source, **fields), {}, tmp_path / "artifact")


def resolved(source: Path | str, **fields: Any) -> Any:
    return CoderKind(CONFIG).resolve(spec_of(source, **fields)).imported


def transcoder(folder: Path, *, d_out: int = 8) -> TopKCoder:
    coder = TopKCoder(8, 24, 4, d_out=d_out, transcoder=True, skip=True)
    generator = torch.Generator().manual_seed(0)
    for parameter in coder.parameters():
        parameter.data.normal_(generator=generator).mul_(0.3)
    sparse_coders.save(coder, folder)
    return coder.requires_grad_(False)


def test_a_coder_of_saelens_becomes_an_artifact(tmp_path: Path) -> None:
    artifact = imported(tmp_path, FIXTURES / "jumprelu")
    said = artifact.manifest.statistics
    expected = {"architecture": "jumprelu", "d_model": 8, "d_out": 8, "d_sae": 16, "k": None, "transcoder": False}
    assert {name: said[name] for name in expected} == expected
    assert (said["hookpoint"], said["output_hookpoint"]) == ("layers.3", "layers.3")
    assert said["model"] == {**MODEL, "weights": "trained", "weights_seed": 0, "trust_remote_code": False}
    assert (said["fvu"], said["l0"]) == (None, None)
    origin: Any = said["imported"]
    assert (origin["layout"], origin["source"]) == ("saelens", str(FIXTURES / "jumprelu"))
    x = torch.randn(20, 8)
    again, first = sparse_coders.load(tmp_path / "artifact"), sparse_coders.load(FIXTURES / "jumprelu")
    assert torch.equal(again(x), first(x))


def test_a_resolved_spec_resolves_to_itself(tmp_path: Path) -> None:
    transcoder(tmp_path / "layers.3.mlp")
    for source in (FIXTURES / "topk", tmp_path / "layers.3.mlp"):
        once = CoderKind(CONFIG).resolve(spec_of(source))
        again = CoderSpec.model_validate(once.model_dump(mode="json"))
        assert CoderKind(CONFIG).resolve(again) == once


def test_a_folder_of_sparsify_is_named_by_its_hookpoint(tmp_path: Path) -> None:
    transcoder(tmp_path / "run" / "layers.3.mlp")
    found = resolved(tmp_path / "run" / "layers.3.mlp")
    assert (found.layout, found.hookpoint, found.output_hookpoint) == ("sparsify", "layers.3.mlp.input", "layers.3.mlp")
    sparse_coders.save(TopKCoder(8, 24, 4), tmp_path / "run" / "h.3" / "seed42")
    found = resolved(tmp_path / "run" / "h.3" / "seed42")
    assert (found.hookpoint, found.output_hookpoint) == ("h.3", "h.3")
    with pytest.raises(InvalidSpec, match=r"folders that do; name one of h.3/seed42|name one of layers.3.mlp"):
        resolved(tmp_path / "run")


def test_a_folder_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repo = tmp_path / "models--me--saes"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT)
    sparse_coders.save(TopKCoder(8, 24, 4), repo / "snapshots" / COMMIT / "layers.3")
    found = resolved("me/saes/layers.3")
    assert (found.source, found.revision, found.hookpoint) == ("me/saes/layers.3", COMMIT, "layers.3")
    assert found.fingerprint == resolved(repo / "snapshots" / COMMIT / "layers.3").fingerprint
    assert imported(tmp_path, "me/saes/layers.3").manifest.statistics["d_sae"] == 24
    with pytest.raises(InvalidSpec, match=r"folders that do; name one of layers.3"):
        resolved("me/saes")
    with pytest.raises(Unavailable, match="the Hugging Face hub cannot be reached"):
        resolved("me/others/layers.3")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["ae.pt", "cfg.json"], "holds ae.pt, which may run code when it is read"),
        (["cfg.json", "model.safetensors"], "expected cfg.json and sae.safetensors or sae_weights.safetensors; it has"),
        (["sae.safetensors"], "it has sae.safetensors"),
        (["cfg.json", "sae.safetensors", "sae_weights.safetensors"], "coders of both layouts"),
        ([], "it has nothing"),
    ],
)
def test_folders_without_a_coder(files: list[str], message: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(InvalidSpec, match=message) as error:
        resolved(tmp_path)
    assert error.value.reason == "UNKNOWN_LAYOUT"


@pytest.mark.parametrize(
    ("name", "fields", "field", "message"),
    [
        ("topk", {"layout": "sparsify"}, "imported.source", "expected cfg.json and sae.safetensors; it has"),
        ("topkk", {}, "imported.source", "there is no folder .* did you mean"),
        ("topk", {"revision": "main"}, "imported.revision", "is no hub id"),
        ("topk", {"fingerprint": "0" * 64}, "imported.fingerprint", "the spec says 0000"),
        ("topk", {"output_hookpoint": "layers.4"}, "imported.output_hookpoint", "an autoencoder of layers.3"),
        ("transcoder", {}, "imported.hookpoint", "'blocks.3.hook_mlp_in', a name of TransformerLens, holds what no"),
        ("transcoder", {"hookpoint": "layers.3.mlp"}, "imported.output_hookpoint", "say what it predicts"),
    ],
)
def test_refused_at_submit(name: str, fields: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(InvalidSpec, match=message) as error:
        resolved(FIXTURES / name, **fields)
    assert error.value.violations[0].field == field


def test_a_transcoder_predicts_the_output_of_what_it_reads(tmp_path: Path) -> None:
    found = resolved(FIXTURES / "transcoder", hookpoint="layers.3.mlp.input")
    assert found.output_hookpoint == "layers.3.mlp"
    assert imported(tmp_path, FIXTURES / "transcoder", hookpoint="layers.3.mlp.input").manifest.statistics["d_out"] == 6


def test_a_store_is_needed_for_its_uris() -> None:
    with pytest.raises(FailedPrecondition, match="has no object store"):
        resolved("s3://bucket/coders/layers.3")


def test_what_a_task_finds_wrong(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "topk", tmp_path / "source")
    kind, config = CoderKind(CONFIG), tmp_path / "source" / "cfg.json"
    spec = kind.resolve(spec_of(tmp_path / "source"))
    config.write_text(json.dumps(json.loads(config.read_text()) | {"k": 17}))
    with pytest.raises(MalformedCoder, match="k is 17 but there are only 16 latents"):
        imported(tmp_path, tmp_path / "source")

    class Unresolved(CoderKind):
        def resolve(self, spec: CoderSpec) -> CoderSpec:
            return spec

    with pytest.raises(UserTaskError, match="changed since the job was submitted"):
        run_local(Unresolved(CONFIG), spec, {}, tmp_path / "changed")


def test_training_fields_are_refused() -> None:
    given = {"source": "x", "model": MODEL}
    with pytest.raises(ValidationError, match="d_sae, learning_rate: not for a coder that is imported"):
        CoderSpec.model_validate({"imported": given, "d_sae": 96, "learning_rate": 1e-3})
    with pytest.raises(ValidationError, match="activations_id: not for a coder that is imported"):
        CoderSpec.model_validate({"imported": given, "activations_id": "activations-0"})
    with pytest.raises(ValidationError, match="activations_id is empty; give activations to train on, or a coder"):
        CoderSpec.model_validate({})


def planted(tmp_path: Path, coder: TopKCoder) -> tuple[FolderArtifact, torch.Tensor, torch.Tensor]:
    """Activations of both hookpoints; what the transcoder should give is nearly what it gives."""
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(500, 8, generator=generator)
    y = coder(x) + 0.1 * torch.randn(500, coder.d_out, generator=generator)
    model: Any = {"source": "EleutherAI/pythia-70m", "fingerprint": "f0", "weights": "trained"}
    options: Any = {"split": "test", "model": model, "targets": y.split(300)}
    return write_activations(tmp_path / "activations", x.split(300), **options), x, y


def evaluation(coder: FolderArtifact, source: FolderArtifact, folder: Path) -> FolderArtifact:
    spec = EvaluationSpec(coder_id=coder.id, activations_id=source.id, batch_tokens=128)
    return run_local(EvaluationKind(CONFIG, opener()), spec, {"coder": coder, "activations": source}, folder)


def test_a_transcoder_is_measured_on_what_it_predicts(tmp_path: Path) -> None:
    coder = transcoder(tmp_path / "source", d_out=6)
    source, x, y = planted(tmp_path, coder)
    artifact = imported(tmp_path, tmp_path / "source", hookpoint="layers.9", output_hookpoint="layers.9.mlp")
    said = evaluation(artifact, source, tmp_path / "evaluation").manifest.statistics
    error, exact = (coder(x) - y).double(), y.double()
    fvu = error.square().sum() / (exact - exact.mean(0)).square().sum()
    assert said["fvu"] == pytest.approx(float(fvu), rel=1e-5)
    assert 0 < float(fvu) < 0.2
    assert said["token_count"] == 500
    assert "document_overlap_count" not in said  # nobody knows what it was trained on


def test_an_evaluation_says_what_it_lacks(tmp_path: Path) -> None:
    coder = transcoder(tmp_path / "source", d_out=6)
    source, x, _ = planted(tmp_path, coder)
    artifact = imported(tmp_path, tmp_path / "source", hookpoint="layers.9", output_hookpoint="layers.9.mlp")
    alone = write_activations(tmp_path / "alone", [x], split="test", model=dict(source.manifest.spec["model"]))  # type: ignore[arg-type]
    with pytest.raises(InvalidSpec, match=r"a transcoder from layers.9 to layers.9.mlp.*make activations with both"):
        evaluation(artifact, alone, tmp_path / "a")
    kind = EvaluationKind(CONFIG, opener())
    spec = EvaluationSpec(coder_id=artifact.id, activations_id=alone.id)
    infos = {
        "coder": InputInfo(artifact.id, "coder", artifact.manifest.spec, None),
        "activations": InputInfo(alone.id, "activations", alone.manifest.spec, None),
    }
    with pytest.raises(InvalidSpec, match="make activations with both hookpoints"):
        kind.check(spec, infos)
    other = write_activations(
        tmp_path / "other", [x], split="test", targets=[x], model={"source": "gpt2", "fingerprint": "f1"}
    )
    with pytest.raises(InvalidSpec, match=r"trained on trained weights .seed 0. of EleutherAI/pythia-70m, these"):
        evaluation(artifact, other, tmp_path / "b")
    wide = write_activations(tmp_path / "wide", [x], split="test", targets=[x])  # its model is a folder: not known
    with pytest.raises(InvalidSpec, match=f"of {OUTPUT} are 8 wide, for the coder 6 are needed"):
        evaluation(artifact, wide, tmp_path / "c")
