"""Writes the parts of a latents artifact (layout 2) from entries in memory, the plain way, latent by latent."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from activation.core.position_counts import positional_information
from dragoman.ids import derived_seed
from latent_cache import Entries, ExampleRecord, LatentIndex, SilentPool, Split
from latent_cache.entry_codec import encode_entries
from latent_cache.example_record import encode_examples
from latent_cache.filters import strong_tokens
from latent_cache.index import INDEX_NAME, index_bytes
from latent_cache.quantiles import quantile_of
from latent_cache.scaled import ActivationDtype
from latent_cache.shard_file import entries_name, examples_name, shard_header
from latent_cache.silent_pool import POOL_WINDOWS, SILENT_NAME, silent_bytes
from latent_cache.tables import (
    POSITIONS_NAME,
    TOKENS_NAME,
    TOKENS_SCHEMA,
    Positions,
    position_edges,
    positions_bytes,
)
from latent_cache.windows import find_runs

from tests.support.window_grid import Activating, WindowGrid, activating

SPLITS: tuple[Split, ...] = ("train", "test")


@dataclass(frozen=True)
class Kept:
    """What is kept of each latent, and how."""

    window_length: int = 16
    top_windows: int = 6
    quantile_windows: int = 100
    activation_dtype: ActivationDtype = "float32"
    latents_per_shard: int = 3
    pool_windows: int = POOL_WINDOWS
    seed: int = 0


@dataclass
class _Built:
    """What accumulates over latents."""

    entry_data: list[bytes] = field(default_factory=list)
    example_data: list[bytes] = field(default_factory=list)
    window_counts: list[list[int]] = field(default_factory=list)
    pool_firings: dict[Split, list[np.ndarray]] = field(default_factory=lambda: {"train": [], "test": []})


class LatentsWriter:
    """Token rows with their documents, and the entries of each latent."""

    def __init__(
        self, tokens: np.ndarray, documents: np.ndarray, train_row_count: int, kept: Kept, offsets: np.ndarray,
        places: np.ndarray, activations: np.ndarray,
    ) -> None:  # fmt: skip
        """`places` (row * ctx_len + position) and `activations` are sorted by latent, then place; `offsets` as in the
        index."""
        self.tokens, self.documents, self.train_row_count = tokens, documents, train_row_count
        self.kept, self.offsets, self.places, self.activations = kept, offsets, places, activations
        self.ctx_len = tokens.shape[1]
        runs = find_runs(documents, 0, kept.window_length)
        self.grid = WindowGrid.of([runs], kept.window_length, self.ctx_len, train_row_count)
        self.pools: dict[Split, np.ndarray] = {split: self._pool(split) for split in SPLITS}

    @property
    def d_sae(self) -> int:
        """Number of latents."""
        return len(self.offsets) - 1

    def parts(self) -> dict[str, bytes]:
        """Returns the content of all parts by name."""
        built = _Built()
        for latent in range(self.d_sae):
            self._add(built, latent)
        starts = np.append(np.arange(0, self.d_sae, self.kept.latents_per_shard), self.d_sae)
        data = {INDEX_NAME: index_bytes(self._index(built, starts))}
        for shard, (first, end) in enumerate(pairwise(starts)):
            for name, pieces in ((entries_name(shard), built.entry_data), (examples_name(shard), built.example_data)):
                content = b"".join(pieces[first:end])
                data[name] = shard_header(len(content)) + content
        data[SILENT_NAME] = silent_bytes({split: self._silent_pool(built, split) for split in SPLITS})
        data[POSITIONS_NAME] = positions_bytes(self._positions())
        data[TOKENS_NAME] = self._token_table()
        return data

    def entries(self, latent: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns places and activations of one latent."""
        span = slice(int(self.offsets[latent]), int(self.offsets[latent + 1]))
        return self.places[span], self.activations[span]

    def active(self, latent: int) -> Activating:
        """Returns the windows in which a latent fires."""
        places, activations = self.entries(latent)
        rows, positions = np.divmod(places, self.ctx_len)
        return activating(self.grid, Entries(rows.astype(np.int32), positions.astype(np.int32), activations))

    def _add(self, built: _Built, latent: int) -> None:
        places, activations = self.entries(latent)
        maximum, dtype = float(activations.max(initial=0)), self.kept.activation_dtype
        built.entry_data.append(encode_entries(places, activations, maximum, dtype))
        active = self.active(latent)
        record = self.record(latent, active, maximum)
        built.example_data.append(encode_examples(record, dtype) if len(places) else b"")
        spans = [active.within(self.grid.bounds(split)) for split in SPLITS]
        built.window_counts.append([span.stop - span.start for span in spans])
        for split, pool in self.pools.items():
            built.pool_firings[split].append(np.flatnonzero(np.isin(pool, active.windows)))

    def record(self, latent: int, active: Activating, maximum: float) -> ExampleRecord:
        """Chooses the windows that are kept of a latent."""
        top, sampled = (np.zeros(len(active), np.bool_) for _ in range(2))
        deciles = np.zeros(len(active), np.int32)
        for split in SPLITS:
            span = active.within(self.grid.bounds(split))
            peaks = active.peaks[span]
            top[span.start + np.argsort(-peaks, kind="stable")[: self.kept.top_windows]] = True
            deciles[span] = quantile_of(peaks)
            rng = np.random.Generator(np.random.PCG64(derived_seed(self.kept.seed, latent, split)))
            order = rng.permutation(len(peaks))
            for decile in range(10):
                drawn = order[deciles[span][order] == decile][: self.kept.quantile_windows]
                sampled[span.start + drawn] = True
        chosen = np.flatnonzero(top | sampled)
        rows, starts, documents = self.grid.places(active.windows[chosen])
        counts = np.diff(active.first_entries)[chosen]
        within = [np.arange(active.first_entries[i], active.first_entries[i + 1]) for i in chosen]
        entries = np.concatenate([np.empty(0, np.int64), *within])
        return ExampleRecord(
            latent=latent, window_length=self.kept.window_length, maximum=maximum,
            rows=rows, starts=starts.astype(np.int32), documents=documents.astype(np.int32),
            test=rows >= self.train_row_count, top=top[chosen], sampled=sampled[chosen], deciles=deciles[chosen],
            tokens=self._tokens(rows, starts), first_activations=np.concatenate([[0], np.cumsum(counts)]),
            offsets=active.offsets[entries], activations=active.activations[entries],
        )  # fmt: skip

    def _tokens(self, rows: np.ndarray, starts: np.ndarray) -> np.ndarray:
        return self.tokens[rows[:, None], starts[:, None] + np.arange(self.kept.window_length)]

    def _pool(self, split: Split) -> np.ndarray:
        low, high = self.grid.bounds(split)
        rng = np.random.Generator(np.random.PCG64(derived_seed(self.kept.seed, "pool", split)))
        return np.sort(low + rng.permutation(high - low)[: self.kept.pool_windows])

    def _silent_pool(self, built: _Built, split: Split) -> SilentPool:
        rows, starts, documents = self.grid.places(self.pools[split])
        firing = built.pool_firings[split]
        offsets = np.concatenate([[0], np.cumsum([len(f) for f in firing])])
        tokens = self._tokens(rows, starts)
        return SilentPool(rows, starts, documents, tokens, offsets, np.concatenate(firing).astype(np.uint16))

    def _index(self, built: _Built, shard_starts: np.ndarray) -> LatentIndex:
        counts = np.diff(self.offsets)
        latents = np.repeat(np.arange(self.d_sae), counts)
        train = np.bincount(latents[self.places < self.train_row_count * self.ctx_len], minlength=self.d_sae)
        sums = np.bincount(latents, self.activations.astype(np.float64), self.d_sae)
        squares = np.bincount(latents, self.activations.astype(np.float64) ** 2, self.d_sae)
        by_latent = [self.entries(latent)[1] for latent in range(self.d_sae)]
        quantiles = [np.quantile(a, np.linspace(0, 1, 11)) if len(a) else np.zeros(11) for a in by_latent]
        windows = np.asarray(built.window_counts, np.int64).reshape(-1, 2)
        zeros = np.zeros(self.d_sae, np.float32)
        pairs = np.unique(np.stack([latents, self.tokens.reshape(-1)[self.places]]), axis=1)
        distinct = np.bincount(pairs[0], minlength=self.d_sae)
        strong = [
            len(strong_tokens(self.tokens.reshape(-1)[places], a)) for places, a in map(self.entries, range(self.d_sae))
        ]
        return LatentIndex(
            ctx_len=self.ctx_len, window_length=self.kept.window_length,
            activation_dtype=self.kept.activation_dtype, offsets=self.offsets,
            entry_byte_offsets=_bounds(built.entry_data), example_byte_offsets=_bounds(built.example_data),
            shard_starts=shard_starts.astype(np.int64),
            firing_count=counts, firing_count_train=train, firing_count_test=counts - train,
            window_count_train=windows[:, 0], window_count_test=windows[:, 1],
            distinct_token_count=distinct, unigram_token_count=np.asarray(strong, np.int64),
            density=counts / max(int((self.documents >= 0).sum()), 1),
            max_activation=np.asarray([a.max(initial=0) for a in by_latent], np.float32),
            mean_activation=sums / np.maximum(counts, 1), mean_square=squares / np.maximum(counts, 1),
            quantiles=np.asarray(quantiles), token_entropy=zeros,
            positional_information=self._information(latents).astype(np.float32),
            max_position_density=zeros,
        )  # fmt: skip

    def _information(self, latents: np.ndarray) -> np.ndarray:
        cells = np.bincount(latents * self.ctx_len + self.places % self.ctx_len, minlength=self.d_sae * self.ctx_len)
        return positional_information(cells.reshape(self.d_sae, -1), (self.documents >= 0).sum(0))

    def _positions(self) -> Positions:
        edges = position_edges(self.ctx_len)
        _, positions = np.nonzero(self.documents >= 0)
        latents = np.repeat(np.arange(self.d_sae), np.diff(self.offsets))
        bins = np.searchsorted(edges, self.places % self.ctx_len, side="right") - 1
        width = len(edges) - 1
        counts = np.bincount(latents * width + bins, minlength=self.d_sae * width).reshape(self.d_sae, width)
        return Positions(edges, np.histogram(positions, edges)[0], counts)

    def _token_table(self, count: int = 3) -> bytes:
        records: list[Mapping[str, object]] = []
        for latent in range(min(self.d_sae, 64)):
            places, activations = self.entries(latent)
            tokens, inverse = np.unique(self.tokens.reshape(-1)[places], return_inverse=True)
            weights = np.bincount(inverse, activations, len(tokens))
            for rank, i in enumerate(np.argsort(-weights, kind="stable")[:count]):
                row = {"latent": latent, "table": "fires", "rank": rank, "token": int(tokens[i])}
                records.append({**row, "weight": float(weights[i]), "count": int((inverse == i).sum())})
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(records, schema=TOKENS_SCHEMA), sink)
        return sink.getvalue()


def _bounds(pieces: list[bytes]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])]).astype(np.int64)
