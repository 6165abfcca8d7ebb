"""Activations artifacts in folders, as the activation service writes them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from dragoman.artifacts import Manifest, PartInfo
from dragoman.folder import FolderArtifact
from dragoman.ids import Json, artifact_id
from dragoman.manifests import manifest_to_json
from safetensors.torch import save_file
from torch import Tensor

HOOKPOINT = "model.layers.9"
MODEL: dict[str, Json] = {
    "source": "/m",
    "weights": "trained",
    "weights_seed": 0,
    "fingerprint": "f0",
    "revision": None,
}


def write_activations(
    folder: Path,
    shards: Sequence[Tensor],
    *,
    split: str = "train",
    tokens_id: str = "tokens-" + "0" * 32,
    model: dict[str, Json] = MODEL,
    first_row: int = 0,
    row_length: int = 10,
) -> FolderArtifact:
    """Writes one shard for each tensor [n, d_model]; `row_length` tokens come from each row."""
    parts: list[PartInfo] = []
    token = 0
    for index, shard in enumerate(shards):
        name = f"{HOOKPOINT}/shard-{index:05d}.safetensors"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        numbers = torch.arange(token, token + len(shard))
        rows = (first_row + numbers // row_length).int()
        save_file({"activations": shard.contiguous(), "rows": rows, "positions": (numbers % row_length).int()}, path)
        data = path.read_bytes()
        metadata: dict[str, Json] = {"hookpoint": HOOKPOINT, "token_count": len(shard)}
        parts.append(PartInfo(name, name, len(data), hashlib.sha256(data).hexdigest(), len(shard), metadata))
        token += len(shard)
    spec: dict[str, Json] = {
        "tokens_id": tokens_id,
        "model": model,
        "hookpoints": ["layers.9"],
        "split": split,
        "max_tokens": token,
    }
    statistics: dict[str, Json] = {
        "d_model": {HOOKPOINT: shards[0].shape[1]},
        "hookpoints": [HOOKPOINT],
        "token_count": token,
        "row_count": -(-token // row_length),
        "dtype": str(shards[0].dtype).removeprefix("torch."),
    }
    id_ = artifact_id("activations", 1, spec)
    manifest = Manifest(id_, "activations", 1, spec, {"tokens": tokens_id}, parts, statistics)
    (folder / "manifest.json").write_bytes(manifest_to_json(manifest))
    return FolderArtifact(folder)
