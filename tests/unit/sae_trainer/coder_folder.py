"""Coder artifacts in folders, of any coder, without training one."""

from collections.abc import Callable
from pathlib import Path

import sparse_coders
from dragoman.artifacts import Manifest, PartInfo
from dragoman.errors import NotFound
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
    activations_id: str = "activations-" + "0" * 32,
    **statistics: Json,
) -> FolderArtifact:
    """Writes a coder and what its manifest says; its id follows from its weights."""
    sparse_coders.save(coder, folder)
    parts: list[PartInfo] = []
    for name in (sparse_coders.CONFIG_FILE, sparse_coders.WEIGHTS_FILE):
        path = folder / name
        parts.append(PartInfo(name, name, path.stat().st_size, file_sha256(path)))
    spec: dict[str, Json] = {"activations_id": activations_id, "sha256": parts[1].sha256}
    figures = {**coder_figures(coder, hookpoint, output_hookpoint or hookpoint), **statistics}
    manifest = Manifest(artifact_id("coder", 2, spec), "coder", 2, spec, {}, parts, figures)
    (folder / "manifest.json").write_bytes(manifest_to_json(manifest))
    return FolderArtifact(folder)


def opener(*artifacts: FolderArtifact) -> Callable[[str], FolderArtifact]:
    """Opens these artifacts by id, as a store does."""

    def artifact_of(id_: str) -> FolderArtifact:
        for artifact in artifacts:
            if artifact.id == id_:
                return artifact
        raise NotFound(f"{id_} is not committed")

    return artifact_of
