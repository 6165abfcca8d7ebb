"""A real model from a GGUF file: tokens, activations and latents against transformers itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from activation.config import Config
from activation.core.comparison import predicted_positions
from activation.kinds import build
from activation.spec import ActivationsSpec, FidelitySpec, LatentsSpec, TokensSpec
from dragoman.artifacts import Manifest, PartInfo
from dragoman.folder import FolderArtifact, file_sha256
from dragoman.kinds import AnyKind
from dragoman.manifests import MANIFEST_NAME, manifest_to_json
from dragoman.models import pull
from latent_cache.cache import LatentCache
from latent_cache.token_rows import TokenRows
from safetensors.torch import load_file
from sparse_coders import TopKCoder, frozen, save

from tests.support.llm_engine import SMALLEST, home
from tests.support.local_run import run_local

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TEXT = """In the beginning of the year the committee met to count the votes, and the clerk read each name aloud.
Nobody had expected the harbour town to answer first, since its letters were carried by a boat that ran twice a month.
"""


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, AnyKind]:
    return {k.name: k for k in build(Config(tmp_path_factory.mktemp("cache"), 2, "cpu"), None)}


@pytest.fixture(scope="module")
def model() -> str:
    return str(pull(SMALLEST, home()))


@pytest.fixture(scope="module")
def tokens(kinds: dict[str, AnyKind], model: str, tmp_path_factory: pytest.TempPathFactory) -> FolderArtifact:
    root = tmp_path_factory.mktemp("corpus")
    for i in range(6):
        (root / f"{i}.txt").write_text(TEXT * (i + 2), encoding="utf-8")
    spec = TokensSpec(source=str(root), tokenizer=model, ctx_len=64, bos="always", test_fraction=0.3)
    return run_local(kinds["tokens"], spec, {}, tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="module")
def activations(
    kinds: dict[str, AnyKind], model: str, tokens: FolderArtifact, tmp_path_factory: pytest.TempPathFactory
) -> FolderArtifact:
    spec = ActivationsSpec.model_validate(
        {"tokens_id": tokens.id, "model": {"source": model}, "hookpoints": ["layers.9"], "rows_per_task": 8}
    )
    return run_local(kinds["activations"], spec, {"tokens": tokens}, tmp_path_factory.mktemp("activations"))


@pytest.mark.slow
def test_tokens_are_the_models_own(tokens: FolderArtifact) -> None:
    statistics: Any = tokens.manifest.statistics
    assert (statistics["vocab_size"], statistics["bos_token_id"]) == (49152, 1)
    rows = TokenRows(tokens)
    text = rows.tokenizer().decode(rows.tokens(np.asarray([0]))[0].tolist(), skip_special_tokens=True)
    assert text.strip()[:40] in TEXT * 2


@pytest.mark.slow
def test_activations_are_the_residual_stream_after_the_layer(
    kinds: dict[str, AnyKind], tokens: FolderArtifact, activations: FolderArtifact
) -> None:
    spec = kinds["activations"].spec.model_validate(activations.manifest.spec)
    whole = kinds["activations"]._model(spec.model).whole  # type: ignore[attr-defined]
    rows = TokenRows(tokens)
    ids = torch.from_numpy(rows.tokens(np.arange(4))).long()
    with torch.no_grad():
        output = whole(input_ids=ids, labels=ids, output_hidden_states=True)
    assert output.loss < 4.5, "the dequantised model speaks English"
    shard = load_file(activations.download("model.layers.9/shard-00000.safetensors"))
    mine = shard["rows"] < 4
    expected = output.hidden_states[10][shard["rows"][mine].long(), shard["positions"][mine].long()]
    assert int(mine.sum()) == 4 * 63
    torch.testing.assert_close(shard["activations"][mine], expected, atol=2e-3, rtol=1e-3)


def _committed(coder: TopKCoder, activations: FolderArtifact, folder: Path, number: int) -> FolderArtifact:
    """Returns the coder's artifact, as the trainer would commit it for these activations."""
    save(coder, folder)
    names = ("cfg.json", "sae.safetensors")
    parts = [PartInfo(n, n, (folder / n).stat().st_size, file_sha256(folder / n)) for n in names]
    trained_on: Any = activations.manifest.spec["model"]
    sizes: Any = {"d_model": coder.d_model, "d_sae": coder.d_sae, "k": coder.k}
    statistics: Any = {**sizes, "hookpoint": "model.layers.9", "model": trained_on}
    manifest = Manifest(f"coder-{number:032x}", "coder", 1, {}, {}, parts, statistics)
    (folder / MANIFEST_NAME).write_bytes(manifest_to_json(manifest))
    return FolderArtifact(folder)


@pytest.mark.slow
def test_latents_are_cached_from_the_same_activations(
    kinds: dict[str, AnyKind], model: str, tokens: FolderArtifact, activations: FolderArtifact, tmp_path: Path
) -> None:
    generator = torch.Generator().manual_seed(0)
    coder = TopKCoder(576, 1024, 8)
    with torch.no_grad():
        coder.W_enc.copy_(torch.randn(1024, 576, generator=generator))
    artifact = _committed(coder, activations, tmp_path / "coder", 1)
    spec = LatentsSpec.model_validate(
        {"tokens_id": tokens.id, "coder_id": artifact.id, "model": {"source": model}, "rows_per_task": 8}
    )
    inputs = {"tokens": tokens, "coder": artifact}
    cache = LatentCache(run_local(kinds["latents"], spec, inputs, tmp_path / "latents"))
    shards = [load_file(activations.download(p.name)) for p in activations.manifest.parts if "/shard-" in p.name]
    acts, indices = frozen(coder).encode(torch.cat([s["activations"] for s in shards]))
    counts = np.bincount(indices[acts > 0].numpy(), minlength=1024)
    assert cache.index.firing_count.tolist() == counts.tolist()
    strongest = np.zeros(1024, np.float32)
    np.maximum.at(strongest, indices.numpy().reshape(-1), acts.numpy().reshape(-1))
    np.testing.assert_allclose(cache.index.max_activation, strongest, rtol=1e-5)


@pytest.mark.slow
def test_coders_between_all_and_nothing_recover_what_they_should(
    kinds: dict[str, AnyKind], model: str, tokens: FolderArtifact, activations: FolderArtifact, tmp_path: Path
) -> None:
    coders: list[FolderArtifact] = []
    for number, k in enumerate((576, 32)):
        coder = TopKCoder(576, 1152, k)
        with torch.no_grad():
            coder.W_enc.copy_(torch.cat([torch.eye(576), -torch.eye(576)]))
            coder.W_dec.copy_(coder.W_enc)
        coders.append(_committed(coder, activations, tmp_path / str(k), 10 + number))
    spec = FidelitySpec.model_validate(
        {"tokens_id": tokens.id, "model": {"source": model}, "coder_ids": [c.id for c in coders], "max_tokens": 120}
    )
    inputs = {"tokens": tokens, **{f"coder.{i}": coder for i, coder in enumerate(coders)}}
    artifact = run_local(kinds["fidelity"], spec, inputs, tmp_path / "fidelity")
    whole, few = pq.read_table(artifact.download("fidelity.parquet")).to_pylist()
    first, end = artifact.manifest.statistics["rows"][0]  # type: ignore[index]
    rows = TokenRows(tokens)
    ids = torch.from_numpy(rows.tokens(np.arange(first, end))).long()
    predicted = torch.from_numpy(predicted_positions(rows.documents(np.arange(first, end))))[:, :-1]
    resolved = kinds["fidelity"].spec.model_validate(artifact.manifest.spec)
    whole_model = kinds["fidelity"]._model(resolved.model).whole  # type: ignore[attr-defined]
    labels = torch.full_like(ids, -100)
    labels[:, 1:][predicted] = ids[:, 1:][predicted]
    with torch.no_grad():
        loss = float(whole_model(input_ids=ids, labels=labels).loss)
    assert whole["ce_original"] == pytest.approx(loss, abs=1e-4)
    assert whole["ce_recovered_zero"] == pytest.approx(1.0, abs=1e-4)
    assert whole["ce_recovered_mean"] == pytest.approx(1.0, abs=1e-4)
    assert whole["kl_coder"] < 1e-6
    assert whole["ce_zero"] > whole["ce_original"] + 1
    assert whole["ce_mean"] > whole["ce_original"] + 1
    assert few["kl_coder"] > 0.01
    assert few["kl_recovered_zero"] < 1.0
    assert whole["fvu"] < 1e-10 < few["fvu"]
