"""Coder artifacts in folders, of any coder, without training one."""

from pathlib import Path

import sparse_coders
from dragoman.artifacts import Manifest, PartInfo
from dragoman.folder import FolderArtifact, file_sha256
from dragoman.ids import Json, artifact_id
from dragoman.manifests import manifest_to_json
from sae_trainer.coder_figures import coder_figures
from sparse_coders import SparseCoder


def write_coder(
    folder: Path,
    coder: SparseCoder,
    *,
    hookpoint: str = "model.layers.9",
    output_hookpoint: str = "",
    **statistics: Json,
) -> FolderArtifact:
    """Writes a coder and what its manifest says; its id follows from its weights."""
    sparse_coders.save(coder, folder)
    parts: list[PartInfo] = []
    for name in (sparse_coders.CONFIG_FILE, sparse_coders.WEIGHTS_FILE):
        path = folder / name
        parts.append(PartInfo(name, name, path.stat().st_size, file_sha256(path)))
    spec: dict[str, Json] = {"activations_id": "activations-" + "0" * 32, "sha256": parts[1].sha256}
    figures = {**coder_figures(coder, hookpoint, output_hookpoint or hookpoint), **statistics}
    manifest = Manifest(artifact_id("coder", 2, spec), "coder", 2, spec, {}, parts, figures)
    (folder / "manifest.json").write_bytes(manifest_to_json(manifest))
    return FolderArtifact(folder)
