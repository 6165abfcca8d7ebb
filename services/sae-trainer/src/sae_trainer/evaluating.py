"""Does the tasks of an evaluation. Imports torch."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import sparse_coders
import torch
from dragoman.artifacts import Artifact, PartInfo
from dragoman.errors import DataLoss, UserTaskError
from dragoman.ids import Json, derived_seed
from dragoman.kinds import Context, Part, Progress
from numpy.random import PCG64, Generator
from safetensors.torch import load, save_file
from sparse_coders import SparseCoder
from torch import Tensor

from sae_trainer.config import Config
from sae_trainer.core.held_out import Sums, added, batch_sums, measures
from sae_trainer.device import prepared_device
from sae_trainer.shards import Tokens, read_tokens
from sae_trainer.source import Source, read_and_given, token_count_of
from sae_trainer.spec import EvaluationSpec

_REPORT_SECONDS = 0.5
_LARGEST_BLOCK_COUNT = 1024
"""Rows are resampled in at most about this many blocks, which bounds memory and leaves the interval what it is."""


def encode(spec: EvaluationSpec, context: Context, config: Config, overlap: int | None) -> Iterator[Progress | Part]:
    """Runs the coder over a task's shards and yields their sums.

    `overlap`, the number of documents that the coder was trained on (None: not known), travels in the part's metadata.
    """
    artifact = context.inputs["activations"]
    coder_artifact = context.inputs["coder"]
    device = prepared_device(config)
    coder = load_coder(coder_artifact, context.scratch).to(device)
    reads, gives = read_and_given(artifact.manifest, coder_artifact.manifest.statistics)
    rows_per_block = -(-int(str(artifact.manifest.statistics["row_count"])) // _LARGEST_BLOCK_COUNT) or 1
    tasks_shards = slice(_index(context, "first"), _index(context, "end"))
    shards = list(zip(reads.shards[tasks_shards], gives.shards[tasks_shards], strict=True))
    total = sum(token_count_of(shard) for shard, _ in shards)
    sums: list[Sums] = []
    done, reported = 0, time.monotonic()
    for shard, target_shard in shards:
        tokens = read_tokens(artifact, shard, 0, token_count_of(shard), reads.d_model)
        targets = _targets(artifact, tokens, gives, None if target_shard is shard else target_shard)
        blocks = tokens.rows.long() // rows_per_block
        for at in range(0, len(blocks), spec.batch_tokens):
            batch = slice(at, at + spec.batch_tokens)
            x = tokens.activations[batch].to(device, torch.float32)
            sums.append(batch_sums(coder, x, targets[batch].float(), blocks[batch]))
            done += len(x)
            if time.monotonic() - reported >= _REPORT_SECONDS:
                reported = time.monotonic()
                yield Progress(done, total, "tokens", "encoding")
        sums = [added(sums)]
    path = context.scratch / f"sums-{context.task.index:05d}.safetensors"
    save_file({f.name: getattr(sums[0], f.name) for f in fields(Sums)}, path)
    yield Part(path.name, path, metadata={"document_overlap_count": overlap}, keep=False)


def _targets(artifact: Artifact, tokens: Tokens, gives: Source, shard: PartInfo | None) -> Tensor:
    """Returns what the coder should give for these tokens: the same activations, or those of another hookpoint."""
    if shard is None:
        return tokens.activations
    found = read_tokens(artifact, shard, 0, token_count_of(shard), gives.d_model)
    if not torch.equal(found.rows, tokens.rows):
        raise DataLoss(f"{artifact.id}: {shard.name} holds other tokens than the shard of what the coder reads")
    return found.activations


def summarise(context: Context) -> Iterator[Progress | Part]:
    """Adds the sums of all tasks and yields the evaluation."""
    stored = context.parts[0]
    sums = added([Sums(**load(context.own.read(part.name))) for part in stored])
    yield Progress(1, 2, "steps", "bootstrap")
    generator = Generator(PCG64(derived_seed(context.job_id, "bootstrap")))
    try:
        figures = asdict(measures(sums, generator))
    except ZeroDivisionError as error:
        raise UserTaskError(f"{error}: every one of them is the same, so there is nothing to explain") from error
    if figures["fvu_interval"] is not None:
        figures["fvu_interval"] = list(figures["fvu_interval"])
    counts = [part.metadata["document_overlap_count"] for part in stored]
    statistics: dict[str, Json] = dict(figures)
    if None not in counts:  # of a coder from elsewhere nobody knows
        statistics["document_overlap_count"] = max(int(str(count)) for count in counts)
    path = context.scratch / "latents.parquet"
    _write_latents(path, sums)
    yield Part(path.name, path, row_count=len(sums.firing_count))
    document = json.dumps(statistics, indent=2, sort_keys=True, allow_nan=False).encode()
    yield Part("evaluation.json", data=document, metadata=statistics)


def load_coder(artifact: Artifact, scratch: Path) -> SparseCoder:
    """Returns a coder artifact's coder. Raises MalformedCoder."""
    folder = scratch / "coder"
    folder.mkdir()
    for name in (sparse_coders.CONFIG_FILE, sparse_coders.WEIGHTS_FILE):
        (folder / name).symlink_to(artifact.download(name).absolute())
    return sparse_coders.load(folder)


def _index(context: Context, name: str) -> int:
    return int(str(context.task.payload[name]))


def _write_latents(path: Path, sums: Sums) -> None:
    counts = sums.firing_count.numpy()
    table = {
        "latent": pa.array(range(len(counts)), pa.int32()),
        "firing_count": pa.array(counts, pa.int64()),
        "density": pa.array(counts / float(sums.tokens.sum()), pa.float64()),
    }
    pq.write_table(pa.table(table), path)
