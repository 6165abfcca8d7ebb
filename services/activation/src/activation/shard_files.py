"""Writes one shard of a latents artifact: the entries of its latents, and their windows."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int64
from latent_cache.entry_codec import EntryEncoder, encode_latents
from latent_cache.example_records import ExampleRecords, encode_records
from latent_cache.scaled import ActivationDtype
from latent_cache.shard_file import ShardWriter
from latent_cache.tables import TOKENS_SCHEMA
from latent_cache.token_rows import TokenRows

from activation.core.merge import LatentEntries, latent_chunks
from activation.core.range_measures import RangeMeasures, WindowActivations
from activation.core.token_sums import TokenTable
from activation.core.window_sample import KeptWindows
from activation.window_tokens import window_tokens

_TOKENS_AT_ONCE = 1 << 21


class ShardFiles:
    """The files of one shard, written latent by latent."""

    def __init__(self, folder: Path, rows: TokenRows, window_length: int, dtype: ActivationDtype) -> None:
        self._rows, self._length = rows, window_length
        self._dtype: ActivationDtype = dtype
        self.ctx_len = rows.ctx_len
        self.entries_path, self.examples_path = folder / "entries", folder / "examples"
        self.tokens_path = folder / "tokens"
        self.entry_bytes: list[int] = []
        """Of each latent so far."""
        self.example_bytes: list[int] = []
        self.token_count = 0
        """Rows of the table of tokens."""

    def __enter__(self) -> Self:
        self._entries, self._examples = ShardWriter(self.entries_path), ShardWriter(self.examples_path)
        self._tokens: Any = pq.ParquetWriter(self.tokens_path, TOKENS_SCHEMA)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for writer in (self._entries, self._examples, self._tokens):
            writer.__exit__(kind, error, at)

    def add_entries(self, blocks: Iterator[LatentEntries], latent_count: int, maxima: "np.ndarray[Any, Any]") -> None:
        """Writes the entries of several latents in one block, or of one latent in any number of blocks."""
        if latent_count > 1:
            for block in blocks:
                greatest = maxima.astype(np.float64)
                encoded = encode_latents(block.places, block.activations, block.offsets, greatest, self._dtype)
                self._entries.append(b"".join(encoded))
                self.entry_bytes += map(len, encoded)
            return
        encoder = EntryEncoder(float(maxima[0]), self._dtype)
        before = self._entries.byte_count
        for block in blocks:
            self._entries.append(encoder.add(block.places, block.activations))
        self._entries.append(encoder.finish())
        self.entry_bytes.append(self._entries.byte_count - before)

    def add_examples(
        self, kept: KeptWindows, found: WindowActivations, first_latent: int, maxima: "np.ndarray[Any, Any]"
    ) -> None:
        """Writes the record of each latent; none for a latent that is dead."""
        counts = np.bincount(kept.windows.latents, minlength=len(maxima))
        windows = np.concatenate([[0], np.cumsum(counts)])
        bounds = np.concatenate([[0], np.cumsum(found.counts)]).astype(np.int64)
        for low, high in latent_chunks(counts, max(1, _TOKENS_AT_ONCE // self._length), len(counts)):
            records = self._records(kept, found, bounds, windows[low : high + 1], maxima[low:high], first_latent + low)
            encoded = [
                data if maximum else b""
                for data, maximum in zip(encode_records(records, self._dtype), maxima[low:high], strict=True)
            ]
            self._examples.append(b"".join(encoded))
            self.example_bytes += map(len, encoded)

    def add_tokens(self, measures: RangeMeasures, first_latent: int, count: int) -> None:
        """Writes the rows of the table of tokens, by latent, then table, then rank."""
        tables = {"fires": measures.tokens.fires(count), "next": measures.tokens.following(count)}
        # Each table is sorted already, which a stable sort makes use of.
        order = np.argsort(np.concatenate([t.latents for t in tables.values()]), kind="stable")
        table = pa.concat_tables([_token_rows(name, t, first_latent) for name, t in tables.items()])
        self._tokens.write_table(table.take(pa.array(order)))
        self.token_count += len(order)

    def _records(
        self,
        kept: KeptWindows,
        found: WindowActivations,
        bounds: Int64[np.ndarray, " windows_plus_1"],
        windows: Int64[np.ndarray, " latents_plus_1"],
        maxima: "np.ndarray[Any, Any]",
        first_latent: int,
    ) -> ExampleRecords:
        """Returns the records of consecutive latents, which own the windows from `windows[0]` to `windows[-1]`."""
        span = slice(int(windows[0]), int(windows[-1]))
        tokens, documents = window_tokens(self._rows, kept.windows.places[span], self._length)
        rows, starts = np.divmod(kept.windows.places[span], self._rows.ctx_len)
        low, high = int(bounds[span.start]), int(bounds[span.stop])
        return ExampleRecords(
            latents=np.arange(first_latent, first_latent + len(maxima)),
            maxima=maxima.astype(np.float64),
            first_windows=windows - span.start,
            rows=rows,
            starts=starts.astype(np.int32),
            documents=documents,
            test=kept.windows.test[span],
            top=kept.top[span],
            sampled=kept.sampled[span],
            deciles=kept.deciles[span],
            tokens=tokens,
            first_activations=bounds[span.start : span.stop + 1] - low,
            offsets=found.offsets[low:high],
            activations=found.activations[low:high],
        )


def _token_rows(name: str, table: TokenTable, first_latent: int) -> pa.Table:
    columns: list[Any] = [
        pa.array((table.latents + first_latent).astype(np.int32)),
        pa.array([name] * len(table.latents), pa.string()),
        pa.array(table.ranks),
        pa.array(table.tokens),
        pa.array(table.weights),
        pa.array(table.counts),
    ]
    return pa.Table.from_arrays(columns, schema=TOKENS_SCHEMA)
