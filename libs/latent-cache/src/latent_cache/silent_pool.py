"""Silent windows: one seeded pool a split, with the windows of it in which each latent fires.

Whatever is left of a pool is silent for a latent, so that its silent windows are drawn without its entries.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Int32, Int64, UInt16
from safetensors.numpy import load, save

from latent_cache.token_rows import Split
from latent_cache.windows import Window

SILENT_NAME = "silent.safetensors"
POOL_WINDOWS = 4096
"""Windows of a pool, drawn without replacement; fewer where the split has fewer."""
_TYPES = {"rows": np.int64, "firing_offsets": np.int64, "firing_windows": np.uint16}


@dataclass(frozen=True, slots=True, eq=False)
class SilentPool:
    """Windows of one split, in the order of row and start, and in which of them each latent fires."""

    rows: Int64[np.ndarray, " windows"]
    starts: Int32[np.ndarray, " windows"]
    documents: Int32[np.ndarray, " windows"]
    tokens: Int32[np.ndarray, "windows window_length"]
    firing_offsets: Int64[np.ndarray, " d_sae_plus_1"]
    """Latent `j` owns `firing_windows[firing_offsets[j]:firing_offsets[j + 1]]`."""
    firing_windows: UInt16[np.ndarray, " n"]
    """Numbers in this pool, rising for each latent, each once."""

    def __len__(self) -> int:
        return len(self.rows)

    def silent(self, latent: int) -> Int64[np.ndarray, " n"]:
        """Returns the numbers of the windows in which a latent is exactly silent, rising."""
        span = slice(int(self.firing_offsets[latent]), int(self.firing_offsets[latent + 1]))
        return np.delete(np.arange(len(self)), self.firing_windows[span].astype(np.int64))

    def draw(self, latent: int, count: int, seed: int) -> Int64[np.ndarray, " n"]:
        """Draws numbers of silent windows without replacement, in random order; fewer when there are fewer.

        Derive the seed from ids with the latent among them, so that no two latents share a draw. A smaller draw is the
        beginning of a larger one.
        """
        return np.random.Generator(np.random.PCG64(seed)).permutation(self.silent(latent))[:count]

    def window(self, which: int, split: Split) -> Window:
        """Returns one window, for a latent that is silent in it."""
        tokens = np.asarray(self.tokens[which])
        silent = np.zeros(len(tokens), np.float32)
        return Window(int(self.rows[which]), int(self.starts[which]), int(self.documents[which]), split, tokens, silent)


def silent_bytes(pools: Mapping[Split, SilentPool]) -> bytes:
    """Returns the content of `silent.safetensors`; the same pools give the same bytes."""
    return save(
        {
            f"{split}_{f.name}": np.ascontiguousarray(getattr(pool, f.name), _TYPES.get(f.name, np.int32))
            for split, pool in pools.items()
            for f in fields(SilentPool)
        }
    )


def read_silent(data: bytes) -> Mapping[Split, SilentPool]:
    """Inverse of `silent_bytes`. Raises KeyError when a tensor is missing, ValueError when they do not fit."""
    tensors: Mapping[str, Any] = load(data)
    splits: tuple[Split, ...] = ("train", "test")
    pools: dict[Split, SilentPool] = {}
    for split in splits:
        pool = SilentPool(**{f.name: tensors[f"{split}_{f.name}"] for f in fields(SilentPool)})
        firing = pool.firing_windows
        if pool.firing_offsets[-1] != len(firing) or (len(firing) and int(firing.max()) >= len(pool)):
            raise ValueError(f"the {split} pool of {len(pool)} windows names windows that it does not have")
        pools[split] = pool
    return pools
