"""The merging tasks of the `latents` kind: from entries by row to entries by latent. Imports no torch."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from dragoman.ids import derived_seed
from dragoman.kinds import Context, Part, Progress
from latent_cache.shard_file import entries_name, examples_name
from latent_cache.token_rows import TokenRows
from safetensors.numpy import load, save

from activation.core.merge import LatentEntries, latent_chunks
from activation.core.range_measures import MeasureSettings, RangeMeasures, WindowActivations, window_activations
from activation.core.window_sample import KeptWindows
from activation.draw_run import DRAWN_NAME
from activation.gathered_parts import GatheredParts
from activation.shard_files import ShardFiles
from activation.spec import LatentsSpec

_CHUNK_ENTRIES = 1 << 19
_CHUNK_LATENTS = 1 << 12
_CHUNK_CELLS = 1 << 20


def invert(spec: LatentsSpec, context: Context) -> Iterator[Progress | Part]:
    """Merges the entries of a range of latents from every encoded part, some latents at a time.

    Memory is that of a chunk of entries and a constant for each latent, also where one latent has more entries than a
    chunk: that one is streamed, three times, from the local copy.
    """
    first, end = (int(str(context.task.payload[key])) for key in ("first", "end"))
    rows = TokenRows(context.inputs["tokens"])
    settings = _settings(spec, context, rows)
    gathered = GatheredParts(context.own, context.parts[0], rows.ctx_len, first, end)
    for done in gathered.copy(context.scratch / "gathered"):
        yield Progress(done, len(context.parts[0]), "parts")
    counts = gathered.counts
    total, done = int(counts.sum()), 0
    statistics: list[dict[str, Any]] = []
    with ShardFiles(context.scratch, rows, spec.window_length, spec.activation_dtype) as files:
        for low, high in latent_chunks(counts, _CHUNK_ENTRIES, min(_CHUNK_LATENTS, _CHUNK_CELLS // rows.ctx_len + 1)):
            blocks = _Blocks(gathered, low, high)
            measures = RangeMeasures(first + low, high - low, settings)
            statistics.append(_write(blocks, measures, files, spec, first + low))
            done += int(counts[low:high].sum())
            yield Progress(done, total, "entries")
    shard = context.task.index
    metadata: dict[str, Any] = {"first_latent": first, "end_latent": end}
    yield Part(entries_name(shard), path=files.entries_path, row_count=total, metadata=metadata)
    yield Part(examples_name(shard), path=files.examples_path, row_count=end - first, metadata=metadata)
    lengths = {"entry_bytes": np.asarray(files.entry_bytes), "example_bytes": np.asarray(files.example_bytes)}
    joined = {name: np.concatenate([s[name] for s in statistics]) for name in statistics[0]}
    yield Part(f"statistics-{shard:05d}.safetensors", data=save({**joined, **lengths}), keep=False)
    yield Part(f"tokens-{shard:05d}.parquet", path=files.tokens_path, row_count=files.token_count, keep=False)


class _Blocks:
    """The entries of a chunk of latents: held when they are one block, read again for each pass when they are more."""

    def __init__(self, gathered: GatheredParts, low: int, high: int) -> None:
        self._gathered, self._low, self._high = gathered, low, high
        fits = high - low > 1 or int(gathered.counts[low]) <= _CHUNK_ENTRIES
        self._held: Sequence[LatentEntries] | None = list(self._read()) if fits else None

    def __iter__(self) -> Iterator[LatentEntries]:
        return iter(self._held) if self._held is not None else self._read()

    def _read(self) -> Iterator[LatentEntries]:
        return self._gathered.blocks(self._low, self._high, _CHUNK_ENTRIES)


def _settings(spec: LatentsSpec, context: Context, rows: TokenRows) -> MeasureSettings:
    drawn = load(context.own.read(DRAWN_NAME))
    return MeasureSettings(
        ctx_len=rows.ctx_len,
        train_places=rows.train_row_count * rows.ctx_len,
        token_counts=drawn["token_counts"],
        pool=drawn["places"],
        top_windows=spec.top_windows,
        quantile_windows=spec.quantile_windows,
        seed=derived_seed("windows", spec.seed),
    )


def _write(
    blocks: _Blocks, measures: RangeMeasures, files: ShardFiles, spec: LatentsSpec, first_latent: int
) -> dict[str, Any]:
    """Three passes: sums, then choices that need the sums, then what is chosen. Returns the statistics."""
    for block in blocks:
        measures.measure(block)
    for block in blocks:
        measures.choose(block)
    statistics = measures.statistics()
    maxima = statistics["max_activation"]
    kept = measures.kept()
    files.add_entries(iter(blocks), len(maxima), maxima)
    found = _window_activations(blocks, kept, files.ctx_len)
    files.add_examples(kept, found, first_latent, maxima)
    files.add_tokens(measures, first_latent, spec.token_table)
    latents, numbers = measures.pool_firing()
    statistics["pool_counts"] = np.bincount(latents, minlength=len(maxima))
    statistics["pool_windows"] = numbers.astype(np.uint16)
    return statistics


def _window_activations(blocks: _Blocks, kept: KeptWindows, ctx_len: int) -> WindowActivations:
    """Joins what the blocks have: a window lies in one block only, and blocks are in the order of windows."""
    pieces = [window_activations(block, kept.windows, ctx_len) for block in blocks]
    return WindowActivations(
        np.sum(np.stack([np.zeros(len(kept.windows), np.int64), *(p.counts for p in pieces)]), axis=0),
        np.concatenate([np.empty(0, np.int32), *(p.offsets for p in pieces)]),
        np.concatenate([np.empty(0, np.float32), *(p.activations for p in pieces)]),
    )
