"""Trained coders of every architecture and form, and imported ones, through latents, effects and fidelity."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from activation.core.comparison import predicted_positions
from activation.effects_kind import EffectsKind
from activation.spec import ActivationsSpec, EffectsSpec, FidelitySpec, LatentsSpec, TokensSpec
from dragoman.artifacts import Manifest
from dragoman.folder import FolderArtifact
from dragoman.kinds import AnyKind
from latent_cache import LatentCache, TokenRows
from sae_trainer.coder_kind import CoderKind
from sae_trainer.config import Config
from sae_trainer.core.architectures import BASELINES, Architecture
from sae_trainer.export_kind import ExportKind
from sae_trainer.export_spec import ExportSpec
from sae_trainer.spec import CoderSpec
from sparse_coders import SparseCoder, load
from torch import Tensor
from transformers import AutoModelForCausalLM

from tests.support.local_run import run_local
from tests.support.tiny import tiny_model

Kinds = dict[str, AnyKind]
D_SAE = 64
READS, GIVES = "model.layers.1.mlp.input", "model.layers.1.mlp"
FORMS: dict[str, dict[str, Any]] = {
    "autoencoder": {"hookpoint": "model.layers.1"},
    "transcoder": {"hookpoint": READS, "output_hookpoint": GIVES},
    "skip transcoder": {"hookpoint": READS, "output_hookpoint": GIVES, "skip": True},
}
TRAINED = [
    *((architecture, "autoencoder", "") for architecture in get_args(Architecture)),
    *((architecture, "transcoder", "") for architecture in ("topk", "relu", "batch_topk")),
    *((architecture, "skip transcoder", "") for architecture in ("topk", "jumprelu", "gated", "matryoshka_batch_topk")),
]
IMPORTED = [
    ("topk", "skip transcoder", "sparsify"),
    ("gated", "autoencoder", "saelens"),
    ("relu", "transcoder", "saelens"),
]
EVERY = pytest.mark.parametrize(("architecture", "form", "layout"), [*TRAINED, *IMPORTED])


class World:
    """A tiny model whose predictions hang on what came before, its tokens, and what its layers say of them."""

    def __init__(self, kinds: Kinds, corpus: Path, tokenizer: Path, root: Path) -> None:
        self.kinds, self.root = kinds, root
        model = tiny_model("llama")
        with torch.no_grad():
            for parameter in model.model.parameters():
                if parameter.ndim == 2:
                    parameter.mul_(8.0)
        model.save_pretrained(root / "model")
        self.source = {"source": str(root / "model")}
        self.model: Any = AutoModelForCausalLM.from_pretrained(root / "model").eval()
        text = {"source": str(corpus), "tokenizer": str(tokenizer), "ctx_len": 32, "bos": "always"}
        spec = TokensSpec.model_validate({**text, "test_fraction": 0.4})
        self.tokens = run_local(kinds["tokens"], spec, {}, root / "tokens")
        given = {"tokens_id": self.tokens.id, "model": self.source, "hookpoints": ["model.layers.1", READS, GIVES]}
        activations = ActivationsSpec.model_validate({**given, "split": "train"})
        self.activations = run_local(kinds["activations"], activations, {"tokens": self.tokens}, root / "activations")
        rows = TokenRows(self.tokens)
        numbers = np.arange(rows.row_count)
        self.ids = torch.from_numpy(rows.tokens(numbers)).long()
        self.documents, self.first_test = rows.documents(numbers), rows.train_row_count
        self.bos = int(str(self.tokens.manifest.statistics["bos_token_id"]))

    @cache  # noqa: B019
    def coder(self, architecture: str, form: str, layout: str) -> FolderArtifact:
        """A coder after some steps of training, or that coder exported to another library's layout and imported."""
        kind = CoderKind(Config(torch_threads=1, device="cpu", shuffle_bytes=2**24))
        folder = self.root / "-".join((architecture, form, layout))
        if not layout:
            few = {"k" if architecture in (*BASELINES, "topk") or "batch" in architecture else "target_l0": 6}
            run = {"d_sae": D_SAE, "batch_tokens": 128, "epochs": 1, "learning_rate": 0.01, **few}
            spec = {"activations_id": self.activations.id, "architecture": architecture, **FORMS[form], **run}
            return run_local(kind, CoderSpec.model_validate(spec), {"activations": self.activations}, folder)
        own = self.coder(architecture, form, "")
        export = ExportSpec.model_validate({"coder_id": own.id, "layout": layout})
        files = run_local(ExportKind(), export, {"coder": own}, folder / "files")
        source = (files.path / files.manifest.parts[0].name).parent
        spec = {"imported": {"source": str(source), "model": {**self.source, "dtype": "float32"}}}
        return run_local(kind, CoderSpec.model_validate(spec), {}, folder / "coder")

    @cache  # noqa: B019
    def latents(self, coder: FolderArtifact) -> FolderArtifact:
        """Where its latents fire, in the first rows of both splits."""
        given = {"tokens_id": self.tokens.id, "coder_id": coder.id, "model": self.source, "max_tokens": 300}
        spec = LatentsSpec.model_validate({**given, "window_length": 8, "activation_dtype": "float32"})
        inputs = {"tokens": self.tokens, "coder": coder}
        return run_local(self.kinds["latents"], spec, inputs, coder.path.parent / f"latents-{coder.path.name}")

    @cache  # noqa: B019
    def fidelity(self) -> dict[str, dict[str, Any]]:
        """The records of all coders, measured in one job, by id."""
        coders = [self.coder(*of) for of in (*TRAINED, *IMPORTED)]
        given = {"tokens_id": self.tokens.id, "coder_ids": [c.id for c in coders], "model": self.source}
        spec = FidelitySpec.model_validate({**given, "max_tokens": 250, "batch_size": 16})
        inputs = {"tokens": self.tokens, **{f"coder.{i}": coder for i, coder in enumerate(coders)}}
        made = run_local(self.kinds["fidelity"], spec, inputs, self.root / "fidelity")
        return {row["coder"]: row for row in pq.read_table(made.download("fidelity.parquet")).to_pylist()}

    @torch.no_grad()
    def pass_of(
        self, ids: Tensor, edit: Callable[[Tensor], Tensor] | None, at: str
    ) -> tuple[dict[str, Tensor], Tensor]:
        """What goes into and comes out of the modules, and the logits, by the plain model with a plain hook."""
        found: dict[str, Tensor] = {}

        def hook(name: str) -> Any:
            def keep(_module: Any, args: Any, output: Tensor) -> Tensor | None:
                found[f"{name}.input"], found[name] = args[0], output
                return edit(output) if edit and name == at else None

            return keep

        modules = ("model.layers.1", GIVES)
        handles = [self.model.get_submodule(name).register_forward_hook(hook(name)) for name in modules]
        logits = self.model(input_ids=ids).logits
        for handle in handles:
            handle.remove()
        return found, logits


@pytest.fixture(scope="module")
def world(kinds: Kinds, corpus: Path, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(kinds, corpus, tokenizer_folder, tmp_path_factory.mktemp("world"))


def places(coder: FolderArtifact) -> tuple[str, str]:
    """What a coder reads and gives, in full."""
    said = coder.manifest.statistics
    reads, gives = (str(said[name]).removeprefix("model.") for name in ("hookpoint", "output_hookpoint"))
    return f"model.{reads}", f"model.{gives}"


def dense(coder: SparseCoder, x: Tensor) -> Tensor:
    acts, indices = coder.encode(x)
    return torch.zeros(len(x), coder.d_sae).scatter_add_(1, indices, acts)


@EVERY
def test_latents_are_what_the_coder_finds_where_it_reads(
    world: World, architecture: str, form: str, layout: str
) -> None:
    artifact = world.coder(architecture, form, layout)
    reads, gives = places(artifact)
    assert (reads, gives) == (("model.layers.1",) * 2 if form == "autoencoder" else (READS, GIVES))
    latents = world.latents(artifact)
    ranges: Any = latents.manifest.statistics["rows"]
    rows = np.concatenate([np.arange(*span) for span in ranges])
    values, _ = world.pass_of(world.ids[rows], None, gives)
    counted = world.documents[rows] >= 0
    expected = np.zeros((*world.documents.shape, D_SAE), np.float32)
    found = np.zeros_like(expected)
    expected[rows] = dense(load(artifact.path), values[reads].flatten(0, 1)).numpy().reshape(len(rows), -1, D_SAE)
    expected[rows] *= counted[..., None]
    for latent in range(D_SAE):
        entries = LatentCache(latents).entries(latent)
        found[entries.rows, entries.positions, latent] = entries.activations
    assert (expected > 0).sum() > 300
    # A latent at its threshold, or two that tie for the k-th place, may fall on either side.
    assert (np.abs(found - expected) > 1e-4 * expected.max()).sum() <= 2


@EVERY
def test_an_ablated_latent_is_taken_away_where_the_coder_gives(
    world: World, architecture: str, form: str, layout: str, tmp_path: Path
) -> None:
    artifact = world.coder(architecture, form, layout)
    reads, gives = places(artifact)
    latents, coder = world.latents(artifact), load(artifact.path)
    kept = {a.id: a for a in (world.tokens, artifact)}
    of_latents: Any = world.kinds["latents"]
    kind = EffectsKind(_Folders(kept), of_latents._model, of_latents._coder)
    given = {"latents_id": latents.id, "selection": {"ranks": [0, 3]}, "intervention": "zero"}
    spec = EffectsSpec.model_validate({**given, "prompt_count": 2, "prompt_tokens": 8, "new_tokens": 0})
    made = run_local(kind, spec, {"latents": latents}, tmp_path / "effects")
    prompts, effects = (pq.read_table(made.download(f"{n}.parquet")).to_pylist() for n in ("prompts", "effects"))
    assert len(effects) == 2
    for row in effects:
        for prompt, kl in zip([p for p in prompts if p["latent"] == row["latent"]], row["kl_by_prompt"], strict=True):
            ids = torch.tensor([[world.bos, *prompt["tokens"]]])
            values, clean = world.pass_of(ids, None, gives)
            activation = dense(coder, values[reads][0, -1:])[0, row["latent"]]
            assert prompt["activation"] == pytest.approx(float(activation), rel=1e-3, abs=1e-5)
            change = -activation * coder.W_dec.detach()[row["latent"]]
            at_last = torch.arange(ids.shape[1])[:, None] == ids.shape[1] - 1
            _, ablated = world.pass_of(ids, lambda output: output + at_last * change, gives)  # noqa: B023
            p, q = clean[0, -1].log_softmax(-1), ablated[0, -1].log_softmax(-1)
            assert kl == pytest.approx(float((p.exp() * (p - q)).sum()), rel=1e-2, abs=1e-6)


@EVERY
def test_fidelity_replaces_what_the_coder_gives(world: World, architecture: str, form: str, layout: str) -> None:
    artifact = world.coder(architecture, form, layout)
    record = world.fidelity()[artifact.id]
    reads, gives = places(artifact)
    rows = np.arange(world.first_test, world.first_test + -(-250 // 31))
    ids, documents = world.ids[rows], world.documents[rows]
    counted = torch.from_numpy(documents >= 0)
    values, clean = world.pass_of(ids, None, gives)
    with torch.no_grad():
        given = load(artifact.path)(values[reads].flatten(0, 1)).view_as(values[gives])
    _, spliced = world.pass_of(ids, lambda output: torch.where(counted[..., None], given, output), gives)
    predicted = torch.from_numpy(predicted_positions(documents))
    assert record["predicted_count"] == int(predicted.sum())
    truth, made = values[gives][counted].double(), given[counted].double()
    fvu = float((truth - made).square().sum() / (truth - truth.mean(0)).square().sum())
    assert record["fvu"] == pytest.approx(fvu, rel=1e-4)
    p, q = (logits[predicted].double().log_softmax(-1) for logits in (clean, spliced))
    assert record["kl_coder"] == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()), rel=1e-3)
    assert record["kl_coder"] > 1e-4, "or this shows nothing"


class _Folders:
    """Artifacts of artifacts, as the store gives them."""

    def __init__(self, artifacts: dict[str, FolderArtifact]) -> None:
        self._artifacts = artifacts

    def artifact(self, artifact_id: str, /) -> FolderArtifact:
        return self._artifacts[artifact_id]

    def manifest(self, artifact_id: str, /) -> Manifest | None:
        found = self._artifacts.get(artifact_id)
        return None if found is None else found.manifest
