"""Tasks of the `activations` kind."""

from collections.abc import Iterator

import numpy as np
from dragoman.kinds import Context, Part, Progress
from hooked_models.batches import batches
from hooked_models.models import LoadedModel
from latent_cache.token_rows import TokenRows

from activation.activation_shards import ActivationShards
from activation.core.moments import Moments, merge_all
from activation.moments_file import artifact_bytes, read_task, statistics, task_bytes
from activation.spec import ActivationsSpec

_SHARDS = 4
"""Of a task and hookpoint. A quarter of an upload is not hidden by the forward pass of other rows."""


def forward(spec: ActivationsSpec, context: Context, model: LoadedModel) -> Iterator[Progress | Part]:
    """Runs a row range and writes a few shards for each hookpoint: one is uploaded while the next is computed."""
    first, end = (int(str(context.task.payload[key])) for key in ("first", "end"))
    rows = TokenRows(context.inputs["tokens"], verified=True)
    tokens, documents = rows.tokens(np.arange(first, end)), rows.documents(np.arange(first, end))
    total, done = int((documents >= 0).sum()), 0
    moments: dict[str, Moments | None] = dict.fromkeys(spec.hookpoints)
    for number, (low, high) in enumerate(_cut(end - first, spec.batch_size), context.task.index * _SHARDS):
        run = batches(model, spec.hookpoints, tokens[low:high], documents[low:high], first + low, spec.batch_size)
        with ActivationShards(spec, context, number, documents[low:high]) as shards:
            for batch in run:
                shards.append(batch)
                for name in spec.hookpoints if len(batch) else ():
                    moments[name] = merge_all([*filter(None, [moments[name]]), Moments.of(batch.activations[name])])
                done += len(batch)
                yield Progress(done, total, "tokens", f"rows {first} to {end}")
        yield from shards.parts()
    name = f"moments-{context.task.index:05d}.safetensors"
    yield Part(name, data=task_bytes(spec.hookpoints, moments), keep=False)


def _cut(row_count: int, batch_size: int) -> Iterator[tuple[int, int]]:
    """Cuts the rows of a task into at most _SHARDS ranges of whole batches."""
    step = -(-row_count // (_SHARDS * batch_size)) * batch_size
    for low in range(0, row_count, step):
        yield low, min(low + step, row_count)


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
