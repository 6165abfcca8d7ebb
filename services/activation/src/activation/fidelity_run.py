"""Tasks of the `fidelity` kind."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from dragoman.artifacts import Artifact
from dragoman.errors import UserTaskError
from dragoman.ids import Json, derived_seed
from dragoman.kinds import Context, Part, Progress
from hooked_models.batches import batches
from hooked_models.models import LoadedModel
from jaxtyping import Float64
from latent_cache.token_rows import TokenRows
from safetensors.torch import load, save
from torch import Tensor

from activation.core.arms import Arms, StandIn
from activation.core.fidelity import COUNTS, MEASURES, SUMS, Measure, block_size, measures
from activation.core.unembed import Unembedding
from activation.latents_run import CoderSlot
from activation.spec import FidelitySpec

_Sums = Mapping[str, Float64[np.ndarray, "coders rows"]]

_ROWS_SCHEMA = pa.schema(
    [
        ("row", pa.int32()),
        ("coder", pa.int32()),
        *[(name, pa.int64() if name in COUNTS else pa.float64()) for name in SUMS],
    ]
)


class CoderShelf:
    """Holds the coders of the last task."""

    def __init__(self) -> None:
        self._slots: dict[str, CoderSlot] = {}

    def get(self, artifacts: Sequence[Artifact], context: Context, device: torch.device) -> list[Any]:
        """Returns the coders of artifacts, loading those that are not held. Raises UserTaskError."""
        self._slots = {a.id: self._slots.get(a.id) or CoderSlot() for a in artifacts}
        coders: list[Any] = []
        for i, artifact in enumerate(artifacts):
            scratch = context.scratch / f"coder-{i}"
            scratch.mkdir()
            coders.append(self._slots[artifact.id].get(artifact, replace(context, scratch=scratch), device))
        return coders


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a coder stands; full names."""

    artifact: Artifact
    reads: str
    replaces: str


def _places(spec: FidelitySpec, context: Context, model: LoadedModel) -> list[_Place]:
    places: list[_Place] = []
    for i in range(len(spec.coder_ids)):
        artifact = context.inputs[f"coder.{i}"]
        statistics = artifact.manifest.statistics
        reads = str(statistics["hookpoint"])
        replaces = str(statistics.get("output_hookpoint") or reads)
        places.append(_Place(artifact, model.full_name(reads), model.full_name(replaces)))
    return places


def _replaced(places: Sequence[_Place]) -> list[str]:
    return list(dict.fromkeys(place.replaces for place in places))


def sum_values(spec: FidelitySpec, context: Context, model: LoadedModel) -> Iterator[Progress | Part]:
    """Sums the values of the replaced hookpoints over the counted positions of a row range."""
    first, tokens, documents = _rows(context)
    places = _places(spec, context, model)
    hookpoints = _replaced(places)
    totals: dict[str, Tensor] = {}
    total, done = int((documents >= 0).sum()), 0
    for batch in batches(model, hookpoints, tokens, documents, first, spec.batch_size):
        for i, name in enumerate(hookpoints):
            added = batch.activations[name].sum(0, dtype=torch.float64).cpu()
            totals[str(i)] = totals[str(i)] + added if str(i) in totals else added
        done += len(batch)
        yield Progress(done, total, "tokens", f"means of rows {first} to {first + len(tokens)}")
    metadata: dict[str, Json] = {
        "hookpoints": list[Json](hookpoints),
        "coder_hookpoints": [[place.reads, place.replaces] for place in places],
    }
    name = f"totals-{context.task.index:05d}.safetensors"
    yield Part(name, data=save(totals), row_count=done, metadata=metadata, keep=False)


def average(context: Context) -> Iterator[Progress | Part]:
    """Divides the sums of all tasks, added in the order of rows."""
    parts = context.parts[0]
    totals: dict[str, Tensor] = {}
    for done, part in enumerate(parts, 1):
        for key, added in load(context.own.read(part.name)).items():
            totals[key] = totals[key] + added if key in totals else added
        yield Progress(done, len(parts), "parts")
    count = sum(part.row_count for part in parts)
    if not count:
        raise UserTaskError("these rows hold no token of any document", reason="NO_TOKENS")
    means = {key: total / count for key, total in totals.items()}
    yield Part("means.safetensors", data=save(means), row_count=count, metadata=parts[0].metadata, keep=False)


def splice(spec: FidelitySpec, context: Context, model: LoadedModel, shelf: CoderShelf) -> Iterator[Progress | Part]:
    """Runs a row range clean and with each stand-in; writes the sums of each row and coder."""
    first, tokens, documents = _rows(context)
    arms = _arms(context, model, _places(spec, context, model), shelf)
    path = context.scratch / f"sums-{context.task.index:05d}.parquet"
    total, done = int((documents >= 0).sum()), 0
    with model.occurrences() as occurrences, pq.ParquetWriter(path, _ROWS_SCHEMA) as writer:
        for at in range(0, len(tokens), spec.batch_size):
            here = slice(at, at + spec.batch_size)
            rows = range(first + at, first + at + len(tokens[here]))
            occurrences.place(rows)
            count = int((documents[here] >= 0).sum())
            steps = arms.sums(tokens[here], documents[here], rows.start, model.device)
            sums = yield from _told(steps, done, count, total)
            writer.write_table(_table(sums, rows))
            done += count
            yield Progress(done, total, "tokens")
    yield Part(path.name, path=path, row_count=len(tokens) * len(spec.coder_ids), keep=False)


def _told(steps: Generator[float, None, _Sums], done: int, count: int, total: int) -> Generator[Progress, None, _Sums]:
    """Tells of each share that is done of a batch of `count` tokens; returns what the steps return."""
    while True:
        try:
            share = next(steps)
        except StopIteration as end:
            return end.value
        except ValueError as error:
            raise UserTaskError(f"{error}; choose another hookpoint", reason="HOOKPOINT_UNUSABLE") from error
        yield Progress(done + share * count, total, "tokens")


def _arms(context: Context, model: LoadedModel, places: Sequence[_Place], shelf: CoderShelf) -> Arms:
    coders = shelf.get([place.artifact for place in places], context, model.device)
    stand_ins = [
        StandIn(place.artifact.id, coder, model.inner(place.reads), model.inner(place.replaces))
        for place, coder in zip(places, coders, strict=True)
    ]
    part = context.parts[1][0]
    means = load(context.own.read(part.name))
    hookpoints: Any = part.metadata["hookpoints"]
    by_name = {model.inner(name): means[str(i)] for i, name in enumerate(hookpoints)}
    try:
        return Arms(Unembedding(model.whole, model.base), model.base, stand_ins, by_name)
    except ValueError as error:
        raise UserTaskError(str(error), reason="MODEL_UNSUPPORTED") from error


def _rows(context: Context) -> tuple[int, Any, Any]:
    """Returns a task's first row, its tokens and their documents."""
    first, end = (int(str(context.task.payload[key])) for key in ("first", "end"))
    rows = TokenRows(context.inputs["tokens"], whole_shards=True)
    return first, rows.tokens(np.arange(first, end)), rows.documents(np.arange(first, end))


def _table(sums: _Sums, rows: range) -> pa.Table:
    """One record for each row and coder, coders of a row together."""
    coder_count = len(sums["token_count"])
    columns: dict[str, Any] = {
        "row": np.repeat(np.asarray(rows, np.int32), coder_count),
        "coder": np.tile(np.arange(coder_count, dtype=np.int32), len(rows)),
        **{name: np.ascontiguousarray(values.T).reshape(-1) for name, values in sums.items()},
    }
    arrays = [pa.array(columns[field.name]).cast(field.type) for field in _ROWS_SCHEMA]
    return pa.Table.from_arrays(arrays, schema=_ROWS_SCHEMA)


def summarise(spec: FidelitySpec, context: Context) -> Iterator[Progress | Part]:
    """Joins the sums of all rows and works out each coder's numbers; its metadata is what `combine` reports."""
    parts = context.parts[2]
    row_count = sum(part.row_count for part in parts) // len(spec.coder_ids)
    size = block_size(row_count)
    blocks = np.zeros((len(spec.coder_ids), -(-row_count // size), len(SUMS)))
    path, first = context.scratch / "rows.parquet", -1
    with pq.ParquetWriter(path, _ROWS_SCHEMA) as writer:
        for done, part in enumerate(parts, 1):
            table: Any = pq.read_table(context.own.download(part.name))
            writer.write_table(table)
            columns = {name: table.column(name).to_numpy() for name in _ROWS_SCHEMA.names}
            first = int(columns["row"][0]) if first < 0 else first
            where = (columns["coder"], (columns["row"] - first) // size)
            np.add.at(blocks, where, np.stack([columns[name].astype(np.float64) for name in SUMS], 1))
            yield Progress(done, len(parts), "parts")
    yield Part(path.name, path=path, row_count=row_count * len(spec.coder_ids))
    if not blocks[0, :, SUMS.index("predicted_count")].any():
        raise UserTaskError("no token of these rows is followed by one of its document", reason="NO_TOKENS")
    seed = derived_seed(context.job_id, "bootstrap")
    # The same resamples for every coder, so that coders can be compared.
    found = [measures(of_coder, np.random.Generator(np.random.PCG64(seed))) for of_coder in blocks]
    yield _summary(spec, context, blocks, found)


def _summary(
    spec: FidelitySpec,
    context: Context,
    blocks: Float64[np.ndarray, "coders blocks sums"],
    found: Sequence[Mapping[str, Measure]],
) -> Part:
    hookpoints: Any = context.parts[1][0].metadata["coder_hookpoints"]
    counts = {name: int(blocks[0, :, SUMS.index(name)].sum()) for name in COUNTS}
    records: list[dict[str, Any]] = []
    for id_, (reads, replaces), measured in zip(spec.coder_ids, hookpoints, found, strict=True):
        record: dict[str, Any] = {"coder": id_, "hookpoint": reads, "output_hookpoint": replaces, **counts}
        for name, measure in measured.items():
            record |= {name: measure.value, f"{name}_low": measure.low, f"{name}_high": measure.high}
        records.append(record)
    path = context.scratch / "fidelity.parquet"
    pq.write_table(pa.Table.from_pylist(records, schema=_fidelity_schema()), path)
    by_coder = {
        record["coder"]: {name: record[name] for name in ("hookpoint", "output_hookpoint", *MEASURES)}
        for record in records
    }
    notes = [f"{r['coder']}: {m.note}" for r, of in zip(records, found, strict=True) for m in of.values() if m.note]
    metadata: dict[str, Any] = {**counts, "coders": by_coder, "notes": notes}
    return Part(path.name, path=path, row_count=len(records), metadata=metadata)


def _fidelity_schema() -> Any:
    texts = [(name, pa.string()) for name in ("coder", "hookpoint", "output_hookpoint")]
    numbers = [(f"{name}{end}", pa.float64()) for name in MEASURES for end in ("", "_low", "_high")]
    return pa.schema([*texts, *[(name, pa.int64()) for name in COUNTS], *numbers])
