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
OUTPUT = "model.layers.9.mlp"
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
    targets: Sequence[Tensor] = (),
) -> FolderArtifact:
    """Writes one shard for each tensor [n, d_model]; `row_length` tokens come from each row.

    `targets`: shards of a second hookpoint, OUTPUT, of the same tokens.
    """
    parts = _parts(folder, HOOKPOINT, shards, first_row, row_length)
    parts += _parts(folder, OUTPUT, targets, first_row, row_length)
    token = sum(len(shard) for shard in shards)
    names = [HOOKPOINT, OUTPUT] if targets else [HOOKPOINT]
    spec: dict[str, Json] = {
        "tokens_id": tokens_id,
        "model": model,
        "hookpoints": [name.removeprefix("model.") for name in names],
        "split": split,
        "max_tokens": token,
    }
    statistics: dict[str, Json] = {
        "d_model": {name: group[0].shape[1] for name, group in zip(names, (shards, targets), strict=False)},
        "hookpoints": [*names],
        "token_count": token,
        "row_count": -(-token // row_length),
        "dtype": str(shards[0].dtype).removeprefix("torch."),
    }
    id_ = artifact_id("activations", 1, spec)
    manifest = Manifest(id_, "activations", 1, spec, {"tokens": tokens_id}, parts, statistics)
    (folder / "manifest.json").write_bytes(manifest_to_json(manifest))
    return FolderArtifact(folder)


def _parts(folder: Path, hookpoint: str, shards: Sequence[Tensor], first_row: int, row_length: int) -> list[PartInfo]:
    parts: list[PartInfo] = []
    token = 0
    for index, shard in enumerate(shards):
        name = f"{hookpoint}/shard-{index:05d}.safetensors"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        numbers = torch.arange(token, token + len(shard))
        rows = (first_row + numbers // row_length).int()
        save_file({"activations": shard.contiguous(), "rows": rows, "positions": (numbers % row_length).int()}, path)
        data = path.read_bytes()
        metadata: dict[str, Json] = {"hookpoint": hookpoint, "token_count": len(shard)}
        parts.append(PartInfo(name, name, len(data), hashlib.sha256(data).hexdigest(), len(shard), metadata))
        token += len(shard)
    return parts
