"""The index of a latents artifact: where each latent's bytes lie, and what was counted of it."""

from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
from dragoman.errors import DataLoss, FailedPrecondition
from jaxtyping import Bool, Float32, Int64
from safetensors import SafetensorError
from safetensors.numpy import load, save

from latent_cache.scaled import ActivationDtype

INDEX_NAME = "index.safetensors"
LAYOUT_VERSION = 2
DECILES = 10


@dataclass(frozen=True, slots=True, eq=False)
class LatentIndex:
    """One array a field, by latent; a dead latent has 0 everywhere."""

    ctx_len: int
    """Tokens in a row: an entry's place is row * ctx_len + position."""
    window_length: int
    """Tokens in a window."""
    activation_dtype: ActivationDtype
    offsets: Int64[np.ndarray, " d_sae_plus_1"]
    """Latent `j` owns entries `offsets[j]:offsets[j + 1]`, counted over all shards."""
    entry_byte_offsets: Int64[np.ndarray, " d_sae_plus_1"]
    """The same in bytes of the content of the `entries` shards."""
    example_byte_offsets: Int64[np.ndarray, " d_sae_plus_1"]
    """The latent's record, in bytes of the content of the `examples` shards."""
    shard_starts: Int64[np.ndarray, " shards_plus_1"]
    """Shard `s` holds latents `shard_starts[s]:shard_starts[s + 1]`, of entries and of examples."""
    firing_count: Int64[np.ndarray, " d_sae"]
    firing_count_train: Int64[np.ndarray, " d_sae"]
    firing_count_test: Int64[np.ndarray, " d_sae"]
    window_count_train: Int64[np.ndarray, " d_sae"]
    """Windows of train documents in which the latent fires."""
    window_count_test: Int64[np.ndarray, " d_sae"]
    distinct_token_count: Int64[np.ndarray, " d_sae"]
    """Different token ids that it fires on."""
    unigram_token_count: Int64[np.ndarray, " d_sae"]
    """Different token ids among the strongest 80 % of its activations (docs/methods.md)."""
    density: Float32[np.ndarray, " d_sae"]
    """Firing count over all counted tokens."""
    max_activation: Float32[np.ndarray, " d_sae"]
    mean_activation: Float32[np.ndarray, " d_sae"]
    """Mean of the nonzero activations."""
    mean_square: Float32[np.ndarray, " d_sae"]
    """Mean square of the nonzero activations."""
    quantiles: Float32[np.ndarray, "d_sae 11"]
    """0 %, 10 %, ... 100 % of the nonzero activations."""
    token_entropy: Float32[np.ndarray, " d_sae"]
    """Entropy of the activation mass over token ids, nats (Heap et al. 2501.17727, a.1)."""
    positional_information: Float32[np.ndarray, " d_sae"]
    """Mutual information of firing and position in the row, nats (docs/methods.md); above 0.05: positional."""
    max_position_density: Float32[np.ndarray, " d_sae"]
    """The largest share of tokens that it fires on, over bins of positions."""

    @property
    def d_sae(self) -> int:
        """Number of latents, dead ones included."""
        return len(self.firing_count)

    def shard_of(self, latent: int) -> int:
        """The shard that holds a latent's entries and its record."""
        return int(np.searchsorted(self.shard_starts, latent, side="right")) - 1

    def ranking(self) -> Int64[np.ndarray, " d_sae"]:
        """Latents by falling firing count over all documents, ties by latent index."""
        return np.argsort(-self.firing_count, kind="stable").astype(np.int64)

    def has_windows(self, count: int) -> Bool[np.ndarray, " d_sae"]:
        """Returns whether each latent fires in so many windows of either split."""
        return (self.window_count_train >= count) & (self.window_count_test >= count)


_LAYOUT = ("ctx_len", "window_length", "activation_dtype")
_BYTES_OF: dict[ActivationDtype, int] = {"float16": 2, "float32": 4}
_FLOATS = {f.name for f in fields(LatentIndex) if "Float32" in str(f.type)}
_ARRAYS = tuple(f.name for f in fields(LatentIndex) if f.name not in _LAYOUT)


def index_bytes(index: LatentIndex) -> bytes:
    """Returns the content of `index.safetensors`; the same index gives the same bytes."""
    layout = [LAYOUT_VERSION, index.ctx_len, index.window_length, _BYTES_OF[index.activation_dtype]]
    arrays = {
        name: np.ascontiguousarray(getattr(index, name), np.float32 if name in _FLOATS else np.int64)
        for name in _ARRAYS
    }
    return save({"layout": np.asarray(layout, np.int64), **arrays})


def read_index(data: bytes, artifact_id: str) -> LatentIndex:
    """Returns the index in the bytes of `index.safetensors`.

    Raises FailedPrecondition for an artifact of another layout, DataLoss for one that does not fit together.
    """
    try:
        tensors = cast("dict[str, np.ndarray[Any, Any]]", load(data))
    except SafetensorError as error:
        raise DataLoss(f"{artifact_id}/{INDEX_NAME} is no safetensors file: {error}") from error
    layout = tensors["layout"].tolist() if "layout" in tensors else [1]
    if layout[0] != LAYOUT_VERSION:
        raise FailedPrecondition(
            f"{artifact_id} has layout {layout[0]} of latents artifacts; this release reads layout {LAYOUT_VERSION}: "
            "submit its spec again to make it anew",
            reason="OLD_ARTIFACT",
        )
    missing = [name for name in _ARRAYS if name not in tensors]
    if missing:
        raise DataLoss(f"{artifact_id}/{INDEX_NAME} lacks {', '.join(missing)}")
    dtype: ActivationDtype = "float16" if layout[3] == _BYTES_OF["float16"] else "float32"
    index = LatentIndex(layout[1], layout[2], dtype, **{name: tensors[name] for name in _ARRAYS})
    _check(index, artifact_id)
    return index


def _check(index: LatentIndex, artifact_id: str) -> None:
    for name in ("offsets", "entry_byte_offsets", "example_byte_offsets"):
        offsets = getattr(index, name)
        if len(offsets) != index.d_sae + 1 or offsets[0] != 0 or (np.diff(offsets) < 0).any():
            raise DataLoss(f"{artifact_id}/{INDEX_NAME}: {name} are not the bounds of {index.d_sae} latents")
    if not np.array_equal(np.diff(index.offsets), index.firing_count):
        raise DataLoss(f"{artifact_id}/{INDEX_NAME}: offsets and firing_count differ")
