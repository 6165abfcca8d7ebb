"""The export kind over folders: what other libraries load, what comes back, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from dragoman.artifacts import InputInfo
from dragoman.errors import InvalidSpec
from dragoman.folder import FolderArtifact
from sae_trainer.coder_kind import CoderKind
from sae_trainer.config import Config
from sae_trainer.core.exportable import refusal
from sae_trainer.core.hook_names import UnknownHook, hook_name, module_path, sparsify_name
from sae_trainer.export_kind import ExportKind
from sae_trainer.export_spec import ExportSpec
from sae_trainer.spec import CoderSpec
from sparse_coders import (
    ARCHITECTURES,
    SparseCoder,
    UnsupportedCoder,
    load,
    save_saelens,
    save_sparsify,
)
from sparse_coders.form import Form, assembled, shapes

from tests.support.local_run import run_local
from tests.unit.sae_trainer.coder_folder import write_coder

CONFIG = Config(torch_threads=1, device="cpu", shuffle_bytes=2**30)
SMOL = {"source": "HuggingFaceTB/SmolLM2-135M", "weights": "trained"}
MLP = {"hookpoint": "model.layers.9.mlp.input", "output_hookpoint": "model.layers.9.mlp"}


def random_coder(architecture: str, *, transcoder: bool = False, skip: bool = False, d_out: int = 8) -> SparseCoder:
    """A coder of which some latents fire for a token."""
    widths = (4, 16) if architecture.startswith("matryoshka") else ()
    k = 3 if architecture == "topk" else None
    form = Form(architecture, 8, 16, d_out, transcoder=transcoder, skip=skip, k=k, widths=widths)
    generator = torch.Generator().manual_seed(0)
    tensors = {name: 0.4 * torch.randn(shape, generator=generator) for name, shape in shapes(form).items()}
    if "threshold" in tensors:
        tensors["threshold"].abs_()
    return assembled(form, tensors, None, "cpu")


def export(tmp_path: Path, coder: SparseCoder, layout: str, **statistics: Any) -> FolderArtifact:
    source = write_coder(tmp_path / "source", coder, **{"model": SMOL, **statistics})
    spec = ExportSpec.model_validate({"coder_id": source.id, "layout": layout})
    return run_local(ExportKind(), spec, {"coder": source}, tmp_path / "export")


FORMS = [
    (architecture, transcoder, skip, d_out)
    for architecture in ARCHITECTURES
    for transcoder, skip, d_out in ((False, False, 8), (True, False, 8), (True, True, 8), (True, False, 6))
]


@pytest.mark.parametrize("layout", ["sparsify", "saelens"])
@pytest.mark.parametrize(("architecture", "transcoder", "skip", "d_out"), FORMS)
def test_every_coder_comes_back_or_is_refused_at_submit(
    layout: str, architecture: str, transcoder: bool, skip: bool, d_out: int, tmp_path: Path
) -> None:
    """What is refused at submit is what the writer refuses; all else gives the same when it is imported again."""
    coder = random_coder(architecture, transcoder=transcoder, skip=skip, d_out=d_out)
    places = MLP if transcoder else {"hookpoint": "model.layers.9"}
    said = {"architecture": architecture, "transcoder": transcoder, "d_model": 8, "d_out": d_out}
    if refusal(layout, said):
        with pytest.raises(UnsupportedCoder):
            (save_sparsify if layout == "sparsify" else save_saelens)(coder, tmp_path)
        with pytest.raises(InvalidSpec, match=r"has no .*coders") as error:
            export(tmp_path, coder, layout, **places)
        assert error.value.reason == "UNSUPPORTED_CODER"
        return
    written = export(tmp_path, coder, layout, **places)
    folder = (written.path / written.manifest.parts[0].name).parent
    imported = {"source": str(folder), "model": SMOL}
    again = run_local(CoderKind(CONFIG), CoderSpec.model_validate({"imported": imported}), {}, tmp_path / "again")
    statistics = again.manifest.statistics
    assert statistics["hookpoint"] == ("layers.9.mlp.input" if transcoder else "layers.9")
    assert statistics["output_hookpoint"] == ("layers.9.mlp" if transcoder else "layers.9")
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(load(again.path)(x), coder(x), rtol=1e-5, atol=1e-5)
    assert load(again.path)(x).std() > 0.1


@pytest.mark.parametrize("places", [{"hookpoint": "model.layers.9"}, MLP])
def test_sparsify_finds_what_is_exported_by_its_hookpoint(places: dict[str, str], tmp_path: Path) -> None:
    sparsify = pytest.importorskip("sparsify", reason="pip install 'dragoman-sparse-coders[peer]'")
    transcoder = "output_hookpoint" in places
    coder = random_coder("topk", transcoder=transcoder, skip=transcoder)
    written = export(tmp_path, coder, "sparsify", **places)
    peers = sparsify.SparseCoder.load_many(str(written.path), local=True)
    name = "layers.9.mlp" if transcoder else "layers.9"
    assert list(peers) == [name]
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = peers[name].encode(x)
        output = peers[name].decode(found.top_acts, found.top_indices)
        output = output + x @ peers[name].W_skip.T if transcoder else output
    torch.testing.assert_close(output, coder(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "transcoder", "skip", "d_out"),
    [form for form in FORMS if not refusal("saelens", {"architecture": form[0], "transcoder": form[1]})],
)
def test_saelens_runs_what_is_exported(
    architecture: str, transcoder: bool, skip: bool, d_out: int, tmp_path: Path
) -> None:
    sae_lens = pytest.importorskip("sae_lens", reason="pip install sae-lens==6.54.12")
    coder = random_coder(architecture, transcoder=transcoder, skip=skip, d_out=d_out)
    written = export(tmp_path, coder, "saelens", **(MLP if transcoder else {"hookpoint": "model.layers.9"}))
    peer = sae_lens.SAE.load_from_disk(written.path)
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(peer(x), coder(x), rtol=1e-5, atol=1e-5)
    assert peer.cfg.metadata.hook_name == ("blocks.9.mlp.hook_in" if transcoder else "blocks.9.hook_resid_post")


def test_saelens_is_told_model_and_hookpoints(tmp_path: Path) -> None:
    coder = random_coder("relu", transcoder=True)
    policy = {"bos_token_id": None}
    said = export(tmp_path, coder, "saelens", token_policy=policy, **MLP).manifest.statistics
    assert said["model_name"] == SMOL["source"]
    assert (said["hook_name"], said["hook_name_out"]) == ("blocks.9.mlp.hook_in", "blocks.9.hook_mlp_out")
    assert (said["prepend_bos"], said["layout"]) == (False, "saelens")
    other = export(tmp_path / "other", coder, "saelens", model={"source": "me/unheard-of"}, **MLP)
    said = other.manifest.statistics
    assert (said["hook_name"], said["model_class_name"]) == (MLP["hookpoint"], "AutoModelForCausalLM")


@pytest.mark.parametrize("model", ["HuggingFaceTB/SmolLM2-135M", "gpt2", "EleutherAI/pythia-70m", "google/gemma-2-2b"])
def test_names_of_hooks_go_both_ways(model: str) -> None:
    found = 0
    for hook in ("resid_pre", "resid_post", "resid_mid", "attn_out", "mlp_out"):
        try:
            path = module_path(f"blocks.3.hook_{hook}", model)
        except UnknownHook:
            continue
        found += 1
        assert hook_name(f"model.{path}", model) == hook_name(path, model) == f"blocks.3.hook_{hook}"
    assert found >= 4
    with pytest.raises(UnknownHook, match="TransformerLens has no name for what"):
        hook_name("model.layers.3.mlp.up_proj", model)


def test_names_of_sparsifys_folders() -> None:
    names = ["model.layers.9", "transformer.h.3.attn", "gpt_neox.layers.0.mlp", "model.embed_tokens", "layers.2"]
    assert [sparsify_name(name) for name in names] == [
        "layers.9",
        "h.3.attn",
        "layers.0.mlp",
        "embed_tokens",
        "layers.2",
    ]


def test_a_coder_that_is_not_made_yet_is_judged_before_planning(tmp_path: Path) -> None:
    source = write_coder(tmp_path / "source", random_coder("gated"))
    info = InputInfo(source.id, "coder", source.manifest.spec, None)
    spec = ExportSpec.model_validate({"coder_id": source.id, "layout": "sparsify"})
    ExportKind().check(spec, {"coder": info})
    with pytest.raises(InvalidSpec, match="sparsify has no gated autoencoders, only topk coders; export to saelens"):
        ExportKind().check(spec, {"coder": InputInfo(source.id, "coder", source.manifest.spec, source.manifest)})
