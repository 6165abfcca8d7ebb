"""Does the tasks of an evaluation. Imports torch."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from dragoman.artifacts import Artifact, PartInfo
from dragoman.errors import DataLoss, UserTaskError
from dragoman.ids import Json, derived_seed
from dragoman.kinds import Context, Part, Progress
from numpy.random import PCG64, Generator
from safetensors.torch import load, save_file
from sparse_coders import frozen
from torch import Tensor

from sae_trainer.coder_artifact import load_coder
from sae_trainer.config import Config
from sae_trainer.core.chart import bar_chart, page
from sae_trainer.core.density import density_histogram
from sae_trainer.core.gaussian_rows import Accumulator, Moments, gaussian_batches, merged, stacked, unstacked
from sae_trainer.core.held_out import Sums, added, batch_sums
from sae_trainer.core.measures import below_floor, measures
from sae_trainer.device import prepared_device
from sae_trainer.document_blocks import LARGEST_BLOCK_COUNT, Blocks
from sae_trainer.shards import Tokens, read_tokens
from sae_trainer.source import Source, read_and_given, token_count_of
from sae_trainer.spec import EvaluationSpec

_REPORT_SECONDS = 0.5
_MERGED_BATCHES = 64
"""Sums of so many batches are held before they are added."""
_FLOOR_PART = "floor.safetensors"


def encode(
    spec: EvaluationSpec, context: Context, config: Config, blocks: Blocks, overlap: int | None
) -> Iterator[Progress | Part]:
    """Runs the coder over a task's shards and yields their sums, and the moments that a floor is drawn from.

    `overlap`, the number of documents that the coder was trained on (None: not known), travels in the part's metadata.
    """
    device = prepared_device(config)
    coder = frozen(load_coder(context.inputs["coder"], context.scratch).to(device))
    moments = Accumulator(coder.d_model + (coder.d_out if coder.transcoder else 0))
    sums: list[Sums] = []
    done, total, reported = 0, _token_count(context), time.monotonic()
    for x, target, place in _batches(spec, context, blocks):
        sums.append(batch_sums(coder, x.to(device, torch.float32), target.float(), place))
        if spec.floor_tokens:
            moments.add(stacked(coder, x.to(device), target.to(device)))
        if len(sums) == _MERGED_BATCHES:
            sums = [added(sums)]
        done += len(x)
        if time.monotonic() - reported >= _REPORT_SECONDS:
            reported = time.monotonic()
            yield Progress(done, total, "tokens", "encoding")
    metadata: dict[str, Json] = {"document_overlap_count": overlap, "interval_unit": blocks.unit}
    yield _intermediate(f"sums-{context.task.index:05d}.safetensors", context.scratch, added(sums), metadata)
    if spec.floor_tokens:
        yield _intermediate(f"moments-{context.task.index:05d}.safetensors", context.scratch, moments.moments(), {})


def measure_floor(spec: EvaluationSpec, context: Context, config: Config) -> Iterator[Progress | Part]:
    """Runs the coder over Gaussian rows with the mean and covariance of the set and yields their sums."""
    device = prepared_device(config)
    coder = frozen(load_coder(context.inputs["coder"], context.scratch).to(device))
    stored = [part.name for part in context.parts[0] if part.name.startswith("moments-")]
    moments = merged([Moments(**load(context.own.read(name))) for name in stored])
    count = min(spec.floor_tokens, round(float(moments.count)))
    rows_per_block, done, sums = -(-count // LARGEST_BLOCK_COUNT), 0, list[Sums]()
    yield Progress(0, count, "tokens", "covariance")
    seed = derived_seed(context.job_id, "floor")
    for rows in gaussian_batches(moments, count, spec.batch_tokens, seed):
        x, target = unstacked(coder, rows.to(device))
        place = torch.arange(done, done + len(x)) // rows_per_block
        sums.append(batch_sums(coder, x.float(), target, place))
        if len(sums) == _MERGED_BATCHES:
            sums = [added(sums)]
        done += len(x)
        yield Progress(done, count, "tokens", "Gaussian activations")
    yield _intermediate(_FLOOR_PART, context.scratch, added(sums), {})


def summarise(context: Context) -> Iterator[Progress | Part]:
    """Adds the sums of all tasks and yields the evaluation."""
    stored = [part for part in context.parts[0] if part.name.startswith("sums-")]
    sums = added([Sums(**load(context.own.read(part.name))) for part in stored])
    yield Progress(1, 2, "steps", "bootstrap")
    generator = Generator(PCG64(derived_seed(context.job_id, "bootstrap")))
    try:
        figures = asdict(measures(sums, generator))
        if any(part.name == _FLOOR_PART for parts in context.parts.values() for part in parts):
            figures |= asdict(below_floor(sums, Sums(**load(context.own.read(_FLOOR_PART))), generator))
    except ZeroDivisionError as error:
        raise UserTaskError(f"{error}: every one of them is the same, so there is nothing to explain") from error
    statistics: dict[str, Json] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in figures.items()
    }
    histogram = density_histogram(sums.firing_count.numpy(), figures["token_count"])
    statistics["density_histogram"] = {**histogram._asdict()}
    statistics["interval_unit"] = stored[0].metadata["interval_unit"]
    counts = [part.metadata["document_overlap_count"] for part in stored]
    if None not in counts:  # of a coder from elsewhere nobody knows
        statistics["document_overlap_count"] = max(int(str(count)) for count in counts)
    path = context.scratch / "latents.parquet"
    _write_latents(path, sums)
    yield Part(path.name, path, row_count=len(sums.firing_count))
    density = bar_chart("latents by density", "log10 of firings over tokens", histogram.log10_edges, histogram.counts)
    yield Part("evaluation.html", data=page("Evaluation", [density], _shown(statistics)))
    document = json.dumps(statistics, indent=2, sort_keys=True, allow_nan=False).encode()
    yield Part("evaluation.json", data=document, metadata=statistics)


def _shown(statistics: Mapping[str, Json]) -> Mapping[str, Json]:
    return {name: value for name, value in statistics.items() if not isinstance(value, dict)}


def _batches(spec: EvaluationSpec, context: Context, blocks: Blocks) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yields what the coder reads, what it should give, and the block of each token."""
    artifact = context.inputs["activations"]
    reads, gives = read_and_given(artifact.manifest, context.inputs["coder"].manifest.statistics)
    for shard, target_shard in zip(reads.shards[_slice(context)], gives.shards[_slice(context)], strict=True):
        tokens = read_tokens(artifact, shard, 0, token_count_of(shard), reads.d_model)
        targets = _targets(artifact, tokens, gives, None if target_shard is shard else target_shard)
        place = torch.from_numpy(blocks.of(artifact, shard))
        size = spec.batch_tokens
        yield from zip(tokens.activations.split(size), targets.split(size), place.split(size), strict=True)


def _targets(artifact: Artifact, tokens: Tokens, gives: Source, shard: PartInfo | None) -> Tensor:
    """Returns what the coder should give for these tokens: the same activations, or those of another hookpoint."""
    if shard is None:
        return tokens.activations
    found = read_tokens(artifact, shard, 0, token_count_of(shard), gives.d_model)
    if not torch.equal(found.rows, tokens.rows):
        raise DataLoss(f"{artifact.id}: {shard.name} holds other tokens than the shard of what the coder reads")
    return found.activations


def _intermediate(name: str, folder: Path, tensors: Sums | Moments, metadata: Mapping[str, Json]) -> Part:
    save_file({f.name: getattr(tensors, f.name) for f in fields(tensors)}, folder / name)
    return Part(name, folder / name, metadata=metadata, keep=False)


def _slice(context: Context) -> slice:
    return slice(*(int(str(context.task.payload[name])) for name in ("first", "end")))


def _token_count(context: Context) -> int:
    reads, _ = read_and_given(context.inputs["activations"].manifest, context.inputs["coder"].manifest.statistics)
    return sum(token_count_of(shard) for shard in reads.shards[_slice(context)])


def _write_latents(path: Path, sums: Sums) -> None:
    """Writes a row a latent; a latent that never fired has no logarithm and no mean."""
    counts = sums.firing_count.numpy()
    density, never = counts / float(sums.tokens.sum()), counts == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithm, mean = np.log10(density), sums.activation.numpy() / counts
    table = {
        "latent": pa.array(range(len(counts)), pa.int32()),
        "firing_count": pa.array(counts, pa.int64()),
        "density": pa.array(density, pa.float64()),
        "log10_density": pa.array(logarithm, pa.float64(), mask=never),
        "mean_activation": pa.array(mean, pa.float64(), mask=never),
    }
    pq.write_table(pa.table(table), path)
