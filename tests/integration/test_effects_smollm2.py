"""The effects kind on a real model: the KL targets of 2410.13928 are reached."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from activation.config import Config
from activation.effects_kind import EffectsKind
from activation.kinds import build
from activation.spec import EffectsSpec, LatentsSpec, TokensSpec
from dragoman.artifacts import Manifest, PartInfo
from dragoman.folder import FolderArtifact, file_sha256
from dragoman.kinds import AnyKind
from dragoman.manifests import MANIFEST_NAME, manifest_to_json
from latent_cache import LatentCache
from sparse_coders import TopKCoder, save

from tests.support.llm_engine import smallest_model
from tests.support.local_run import run_local

torch = pytest.importorskip("torch")

D_SAE, K = 256, 8
TEXT = """In the beginning of the year the committee met to count the votes, and the clerk read each name aloud.
Nobody had expected the harbour town to answer first, since its letters were carried by a boat that ran twice a month.
"""


class Folders:
    """Artifacts of artifacts, as the store gives them."""

    def __init__(self, *artifacts: FolderArtifact) -> None:
        self._artifacts = {artifact.id: artifact for artifact in artifacts}

    def artifact(self, artifact_id: str, /) -> FolderArtifact:
        return self._artifacts[artifact_id]

    def manifest(self, artifact_id: str, /) -> Manifest | None:
        return self._artifacts[artifact_id].manifest


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, AnyKind]:
    return {k.name: k for k in build(Config(tmp_path_factory.mktemp("cache"), 1, "cpu"), None)}


@pytest.fixture(scope="module")
def tokens(kinds: dict[str, AnyKind], tmp_path_factory: pytest.TempPathFactory) -> FolderArtifact:
    root = tmp_path_factory.mktemp("corpus")
    for i in range(3):
        (root / f"{i}.txt").write_text(TEXT * (i + 2), encoding="utf-8")
    spec = TokensSpec.model_validate(
        {
            "source": str(root),
            "tokenizer": str(smallest_model()),
            "ctx_len": 64,
            "bos": "always",
            "test_fraction": 0.3,
        }
    )
    return run_local(kinds["tokens"], spec, {}, tmp_path_factory.mktemp("tokens"))


def _coder(folder: Path, model: dict[str, Any]) -> FolderArtifact:
    """Unit directions, encoder and decoder alike: the random coder of 2410.13928."""
    folder.mkdir()
    coder = TopKCoder(576, D_SAE, K)
    with torch.no_grad():
        directions = torch.randn(D_SAE, 576, generator=torch.Generator().manual_seed(1))
        coder.W_dec.copy_(directions / directions.norm(dim=1, keepdim=True))
        coder.W_enc.copy_(coder.W_dec)
    save(coder, folder)
    parts = [PartInfo(p.name, p.name, p.stat().st_size, file_sha256(p)) for p in sorted(folder.iterdir())]
    statistics: Any = {"d_model": 576, "d_sae": D_SAE, "k": K, "hookpoint": "model.layers.9", "model": model}
    manifest = Manifest(f"coder-{'0' * 32}", "coder", 1, {}, {}, parts, statistics)
    (folder / MANIFEST_NAME).write_bytes(manifest_to_json(manifest))
    return FolderArtifact(folder)


@pytest.mark.slow
def test_the_kl_targets_are_reached(kinds: dict[str, AnyKind], tokens: FolderArtifact, tmp_path: Path) -> None:
    latents_kind: Any = kinds["latents"]
    model = {"source": str(smallest_model())}
    resolved = latents_kind.resolve(LatentsSpec.model_validate({"tokens_id": "t", "model": model, "coder_id": "c"}))
    coder = _coder(tmp_path / "coder", resolved.model.model_dump(mode="json"))
    spec = LatentsSpec.model_validate({"tokens_id": tokens.id, "coder_id": coder.id, "model": model})
    latents = run_local(latents_kind, spec, {"tokens": tokens, "coder": coder}, tmp_path / "latents")
    kind = EffectsKind(Folders(tokens, coder), latents_kind._model, latents_kind._coder)
    ranks = [20]
    small = {"prompt_count": 2, "prompt_tokens": 8, "new_tokens": 4}
    asked = EffectsSpec.model_validate({"latents_id": latents.id, "selection": {"ranks": ranks}, **small})
    made = run_local(kind, asked, {"latents": latents}, tmp_path / "effects")
    rows = pq.read_table(made.download("effects.parquet")).to_pylist()
    assert [row["latent"] for row in rows[::4]] == LatentCache(latents).index.ranking()[ranks].tolist()
    for row in rows:
        assert row["kl"] == pytest.approx(row["kl_target"], rel=0.1)
        assert row["converged"] is True
    strengths = np.asarray([row["strength"] for row in rows]).reshape(1, 4)
    assert (np.diff(strengths, axis=1) > 0).all(), "more KL takes more strength"
    said = pq.read_table(made.download("continuations.parquet")).to_pylist()
    assert len(said) == 2 * 5
    assert all(len(row["tokens"]) == 4 for row in said)
