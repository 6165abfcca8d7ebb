"""Entries of consecutive latents from many encoded parts, joined in the order of places."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64


@dataclass(frozen=True, slots=True, eq=False)
class LatentEntries:
    """Entries of consecutive latents, sorted by latent, then place; whole rows of each latent. 24 bytes an entry."""

    offsets: Int64[np.ndarray, " latents_plus_1"]
    """Latent `j` owns entries `offsets[j]:offsets[j + 1]`."""
    places: Int64[np.ndarray, " n"]
    """row * ctx_len + position."""
    activations: Float32[np.ndarray, " n"]
    tokens: Int32[np.ndarray, " n"]
    next_tokens: Int32[np.ndarray, " n"]
    """-1: the document ends here."""
    window_starts: Int32[np.ndarray, " n"]
    """Position at which the entry's window starts; -1: it is in none."""

    def __len__(self) -> int:
        return len(self.places)

    @property
    def latent_count(self) -> int:
        """Latents, those without entries included."""
        return len(self.offsets) - 1

    @property
    def owners(self) -> Int64[np.ndarray, " n"]:
        """The latent of each entry, from 0."""
        return np.repeat(np.arange(self.latent_count), np.diff(self.offsets))

    def chosen(self, kept: Bool[np.ndarray, " n"]) -> "LatentEntries":
        """Returns some of the entries."""
        counts = np.bincount(self.owners[kept], minlength=self.latent_count)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        columns = (self.places, self.activations, self.tokens, self.next_tokens, self.window_starts)
        return LatentEntries(offsets, *(column[kept] for column in columns))


@dataclass(frozen=True, slots=True, eq=False)
class PartSlice:
    """The entries that one encoded part has of consecutive latents; columns as in `core.entries.ENCODED_COLUMNS`."""

    first_place: int
    """What the places of the part count from."""
    counts: Int64[np.ndarray, " latents"]
    entries: Int32[np.ndarray, "n 5"]


def merge(slices: Sequence[PartSlice], latent_count: int) -> LatentEntries:
    """Merges slices of rising rows by counting: linear in the number of entries."""
    counts = np.stack([s.counts for s in slices]) if slices else np.zeros((0, latent_count), np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts.sum(0))]).astype(np.int64)
    places = np.empty(int(offsets[-1]), np.int64)
    columns = np.empty((4, len(places)), np.int32)
    starts = offsets[:-1].copy()
    for part, count in zip(slices, counts, strict=True):
        before = np.cumsum(count) - count
        targets = np.repeat(starts - before, count) + np.arange(len(part.entries))
        places[targets] = part.first_place + part.entries[:, 0].astype(np.int64)
        columns[:, targets] = part.entries[:, 1:].T
        starts += count
    return LatentEntries(offsets, places, columns[0].view(np.float32), columns[1], columns[2], columns[3])


def whole_rows(pieces: Iterator[LatentEntries], ctx_len: int, max_entries: int) -> Iterator[LatentEntries]:
    """Joins pieces of one latent to blocks of about `max_entries` that end where a row ends.

    A block has at most `max_entries` and a row and a piece more, whatever the number of entries of the latent.
    """
    held: list[LatentEntries] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size < max_entries:
            continue
        joined = _joined(held)
        last_row = joined.places[-1] // ctx_len * ctx_len
        done = joined.places < last_row
        if done.any():
            yield joined.chosen(done)
        held = [joined.chosen(~done)]
        size = len(held[0])
    if size:
        yield _joined(held)


def _joined(pieces: Sequence[LatentEntries]) -> LatentEntries:
    names = ("places", "activations", "tokens", "next_tokens", "window_starts")
    columns = [np.concatenate([getattr(p, name) for p in pieces]) for name in names]
    return LatentEntries(np.asarray([0, len(columns[0])], np.int64), *columns)


def latent_chunks(counts: Int64[np.ndarray, " latents"], max_entries: int, max_latents: int) -> list[tuple[int, int]]:
    """Cuts latents into runs of at most `max_latents`, with at most `max_entries` entries unless one has more."""
    ends = np.cumsum(counts)
    chunks: list[tuple[int, int]] = []
    first = 0
    while first < len(counts):
        before = int(ends[first - 1]) if first else 0
        end = max(first + 1, int(np.searchsorted(ends, before + max_entries, side="right")))
        chunks.append((first, min(end, first + max_latents)))
        first = chunks[-1][1]
    return chunks
