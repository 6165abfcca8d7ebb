"""A tokens artifact in a folder, as the activation service writes it."""

from pathlib import Path

import numpy as np
from dragoman.artifacts import Manifest, PartInfo
from dragoman.folder import FolderArtifact, file_sha256
from dragoman.ids import Json, artifact_id
from dragoman.manifests import manifest_to_json
from safetensors.numpy import save_file

CTX_LEN, ROWS, TRAIN_ROWS, SHARD_ROWS = 33, 48, 40, 24
PADDED = 5
"""Positions at the end of each split's last row."""
TRAIN_TOKENS = TRAIN_ROWS * (CTX_LEN - 1) - PADDED


def write_tokens(
    folder: Path, vocab_size: int, ctx_len: int = CTX_LEN, rows: int = ROWS, train_rows: int = TRAIN_ROWS
) -> FolderArtifact:
    """Writes rows of random ids with BOS; each row is a document of its own."""
    folder.mkdir(parents=True)
    tokens = np.random.default_rng(0).integers(3, vocab_size, (rows, ctx_len)).astype(np.int32)
    documents = np.repeat(np.arange(rows, dtype=np.int32)[:, None], ctx_len, axis=1)
    tokens[:, 0], documents[:, 0] = 0, -1
    for last in (train_rows - 1, rows - 1):
        tokens[last, -PADDED:], documents[last, -PADDED:] = 2, -1
    parts = [_part(folder, first, tokens, documents) for first in range(0, rows, SHARD_ROWS)]
    spec: dict[str, Json] = {"ctx_len": ctx_len, "vocab_size": vocab_size}
    statistics: dict[str, Json] = {
        "ctx_len": ctx_len,
        "has_bos": True,
        "row_count": rows,
        "train_row_count": train_rows,
        "vocab_size": vocab_size,
        "token_policy": {
            "version": 1,
            "bos_token_id": 0,
            "packing": "document",
            "chat_template": None,
            "counts_special_tokens": False,
        },
    }
    manifest = Manifest(artifact_id("tokens", 1, spec), "tokens", 1, spec, {}, parts, statistics)
    (folder / "manifest.json").write_bytes(manifest_to_json(manifest))
    return FolderArtifact(folder)


def _part(folder: Path, first: int, tokens: np.ndarray, documents: np.ndarray) -> PartInfo:
    name = f"rows-{first // SHARD_ROWS:05d}.safetensors"
    rows = slice(first, first + SHARD_ROWS)
    save_file({"tokens": tokens[rows], "documents": documents[rows]}, folder / name)
    size, sum_ = (folder / name).stat().st_size, file_sha256(folder / name)
    return PartInfo(name, name, size, sum_, len(tokens[rows]), {"first_row": first})
