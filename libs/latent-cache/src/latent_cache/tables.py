"""The tables of a latents artifact: tokens, positions, neighbours of latents. Their names, schemas and bytes."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Int64
from safetensors.numpy import load, save

TOKENS_NAME = "tokens.parquet"
POSITIONS_NAME = "positions.safetensors"
NEIGHBOURS_NAME = "neighbours.parquet"
POSITION_BINS = 64
"""Most bins of positions; a row of fewer tokens has a bin for each."""

TOKENS_SCHEMA = pa.schema(
    [
        ("latent", pa.int32()),
        ("table", pa.string()),
        ("rank", pa.int32()),
        ("token", pa.int32()),
        ("weight", pa.float64()),
        ("count", pa.int64()),
    ]
)
"""`table` is "fires" (the token that the latent fires on) or "next" (the one after it); rows by latent, table, rank."""

NEIGHBOURS_SCHEMA = pa.schema(
    [
        ("latent", pa.int32()),
        ("rank", pa.int32()),
        ("neighbour", pa.int32()),
        ("jaccard", pa.float32()),
        ("both_count", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class Positions:
    """Where in the row latents fire, by equal bins of positions."""

    edges: Int64[np.ndarray, " bins_plus_1"]
    """Bin `b` holds positions `edges[b]` to `edges[b + 1]`, the last one excluded."""
    totals: Int64[np.ndarray, " bins"]
    """Counted tokens in each bin."""
    counts: Int64[np.ndarray, "d_sae bins"]
    """Firings of each latent in each bin."""


def position_edges(ctx_len: int) -> Int64[np.ndarray, " bins_plus_1"]:
    """Returns the bounds of at most `POSITION_BINS` bins of equal width; the last one may be narrower."""
    width = -(-ctx_len // POSITION_BINS)
    return np.minimum(np.arange(-(-ctx_len // width) + 1) * width, ctx_len).astype(np.int64)


def positions_bytes(positions: Positions) -> bytes:
    """Returns the content of `positions.safetensors`."""
    return save(
        {name: np.ascontiguousarray(getattr(positions, name), np.int64) for name in ("counts", "edges", "totals")}
    )


def read_positions(data: bytes) -> Positions:
    """Inverse of `positions_bytes`. Raises KeyError when a tensor is missing."""
    tensors = load(data)
    return Positions(tensors["edges"], tensors["totals"], tensors["counts"])
