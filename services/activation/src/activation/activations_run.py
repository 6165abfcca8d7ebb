"""Tasks of the `activations` kind."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dragoman.kinds import Context, Part, Progress
from hooked_models.batches import batches, stored
from hooked_models.core.forward import Batch
from hooked_models.models import LoadedModel
from latent_cache.token_rows import TokenRows
from torch import Tensor

from activation.core.moments import Moments, merge_all
from activation.moments_file import artifact_bytes, read_task, statistics, task_bytes
from activation.spec import ActivationsSpec
from activation.tensor_stream import TensorStream

_STORED = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}


def forward(spec: ActivationsSpec, context: Context, model: LoadedModel) -> Iterator[Progress | Part]:
    """Runs a row range and writes one shard a hookpoint while it goes."""
    first, end = (int(str(context.task.payload[key])) for key in ("first", "end"))
    rows = TokenRows(context.inputs["tokens"], whole_shards=True)
    tokens, documents = rows.tokens(np.arange(first, end)), rows.documents(np.arange(first, end))
    total, done = int((documents >= 0).sum()), 0
    dtype = spec.dtype or "float32"
    paths = [context.scratch / f"{i}.safetensors" for i in range(len(spec.hookpoints))]
    moments: dict[str, Moments | None] = dict.fromkeys(spec.hookpoints)
    with ExitStack() as stack:
        streams: dict[str, TensorStream] = {}
        for batch in batches(model, spec.hookpoints, tokens, documents, first, spec.batch_size):
            if not streams:
                for name, path in zip(spec.hookpoints, paths, strict=True):
                    streams[name] = stack.enter_context(TensorStream(path, tensors_of(batch, name, total, dtype)))
            for name, stream in streams.items():
                append(stream, batch, name, dtype)
                if len(batch):
                    moments[name] = merge_all([*filter(None, [moments[name]]), Moments.of(batch.activations[name])])
            done += len(batch)
            yield Progress(done, total, "tokens", f"rows {first} to {end}")
    for name, path in zip(spec.hookpoints, paths, strict=True):
        yield _shard(context, name, path, total, end - first)
    name = f"moments-{context.task.index:05d}.safetensors"
    yield Part(name, data=task_bytes(spec.hookpoints, moments), keep=False)


def tensors_of(batch: Batch, name: str, total: int, dtype: str) -> Mapping[str, tuple[str, tuple[int, ...]]]:
    """Returns dtypes and shapes of a shard of `total` tokens, as `TensorStream` takes them."""
    return {
        "activations": (_STORED[dtype], (total, batch.activations[name].shape[1])),
        "rows": ("I32", (total,)),
        "positions": ("I32", (total,)),
    }


def append(stream: TensorStream, batch: Batch, name: str, dtype: str) -> None:
    """Writes the activations of a batch. Raises UserTaskError where one does not fit the dtype."""
    stream.append("activations", _bytes(stored(batch, name, dtype)))
    stream.append("rows", _bytes(torch.from_numpy(batch.rows)))
    stream.append("positions", _bytes(torch.from_numpy(batch.positions)))


def _bytes(values: Tensor) -> memoryview:
    """Returns the bytes of a tensor, not copied; numpy knows no bfloat16."""
    if not values.numel():
        return memoryview(b"")  # of rows without a counted token; such a tensor may have no stride to view
    return values.contiguous().cpu().view(torch.uint8).numpy().reshape(-1).data


def _shard(context: Context, name: str, path: Path, token_count: int, row_count: int) -> Part:
    metadata: dict[str, Any] = {"hookpoint": name, "token_count": token_count, "row_count": row_count}
    part_name = f"{name}/shard-{context.task.index:05d}.safetensors"
    return Part(part_name, path=path, row_count=token_count, metadata=metadata)


def summarise(spec: ActivationsSpec, context: Context) -> Iterator[Progress | Part]:
    """Merges the moments of all tasks, in the order of rows."""
    parts = [p for p in context.parts[0] if not p.keep]
    totals: dict[str, Moments] = {}
    for done, part in enumerate(parts, 1):
        for name, found in read_task(context.own.read(part.name), spec.hookpoints).items():
            totals[name] = totals[name].merge(found) if name in totals else found
        yield Progress(done, len(parts), "parts")
    ordered = {name: totals[name] for name in spec.hookpoints if name in totals}
    yield Part("moments.safetensors", data=artifact_bytes(ordered), metadata=statistics(ordered))
