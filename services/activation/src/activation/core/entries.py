"""Sparse entries, from the order of tokens to the order of latents.

An encoding task writes one intermediate part with two tensors:

- `offsets` int64 [d_sae + 1]: latent `j` owns entries `offsets[j]:offsets[j + 1]`;
- `entries` int32 [n, 5]: the columns of `ENCODED_COLUMNS`, sorted by latent, then place. 20 bytes an entry.

A run of latents is therefore three ranged reads of a part, which `activation.encoded_part` does and checks: its header,
the offsets, all of the entries. The part's metadata has `first_row`, to which its places are relative; so they fit in
31 bits whatever the corpus.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, Int64
from latent_cache.windows import find_runs

ENCODED_COLUMNS = ("place", "activation", "token", "next_token", "window_start")
"""`place`: (row - first_row) * ctx_len + position. `activation`: the bit pattern of a float32 above 0. `next_token`:
the next token of the same row and document, else -1. `window_start`: the position at which the window that holds the
entry starts, -1 where none does."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedEntries:
    """Entries of some rows, sorted by latent, then row, then position."""

    offsets: Int64[np.ndarray, " d_sae_plus_1"]
    """Latent `j` owns entries `offsets[j]:offsets[j + 1]`."""
    entries: Int32[np.ndarray, "n 5"]
    """The columns are those of `ENCODED_COLUMNS`."""

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def activations(self) -> Float32[np.ndarray, " n"]:
        """The activation of each entry, above 0."""
        return np.ascontiguousarray(self.entries[:, 1]).view(np.float32)


def place_table(
    tokens: Int32[np.ndarray, "rows ctx_len"], documents: Int32[np.ndarray, "rows ctx_len"], window_length: int
) -> Int32[np.ndarray, "places 3"]:
    """Returns token, next token and window start of every place of some rows, in row-major order.

    `documents` is the document of each token, -1 for BOS and padding.
    """
    following = np.full(tokens.shape, -1, np.int32)
    same = (documents[:, 1:] == documents[:, :-1]) & (documents[:, 1:] >= 0)
    following[:, :-1] = np.where(same, tokens[:, 1:], -1)
    starts = np.full(tokens.size, -1, np.int32)
    runs = find_runs(documents, 0, window_length)
    lengths = runs.window_counts * window_length
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    first_places = np.repeat(runs.rows * tokens.shape[1] + runs.starts, lengths)
    starts[first_places + within] = np.repeat(runs.starts, lengths) + within // window_length * window_length
    return np.stack([tokens.reshape(-1), following.reshape(-1), starts], 1)


class FoundActivations:
    """Activations above 0, gathered batch by batch in the order of places: 12 bytes each until they are sorted."""

    def __init__(self) -> None:
        self._latents: list[Int32[np.ndarray, " n"]] = [np.empty(0, np.int32)]
        self._places: list[Int32[np.ndarray, " n"]] = [np.empty(0, np.int32)]
        self._activations: list[Float32[np.ndarray, " n"]] = [np.empty(0, np.float32)]

    def add(
        self, acts: Float32[np.ndarray, "n k"], latents: Int64[np.ndarray, "n k"], places: Int32[np.ndarray, " n"]
    ) -> None:
        """Takes what a coder found at some places. An activation of 0 did not fire, whatever latent it names."""
        fires = acts > 0
        self._latents.append(latents[fires].astype(np.int32))
        self._places.append(np.repeat(places, fires.sum(1)))
        self._activations.append(acts[fires])

    def by_latent(self, table: Int32[np.ndarray, "places 3"], d_sae: int) -> EncodedEntries:
        """Sorts by latent, then place; `table` is the `place_table` of all rows."""
        latents = np.concatenate(self._latents)
        offsets = np.concatenate([[0], np.cumsum(np.bincount(latents, minlength=d_sae))]).astype(np.int64)
        # Two bytes are sorted by radix in numpy, several times faster than four.
        order = np.argsort(latents.astype(np.uint16) if d_sae <= 1 << 16 else latents, kind="stable")
        entries = np.empty((len(order), len(ENCODED_COLUMNS)), np.int32)
        entries[:, 0] = np.concatenate(self._places)[order]
        entries[:, 1] = np.concatenate(self._activations).view(np.int32)[order]
        entries[:, 2:] = table[entries[:, 0]]
        return EncodedEntries(offsets, entries)
